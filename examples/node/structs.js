// google.protobuf.Struct, of which inputs and outputs of jobs are, to and from plain objects.

export const toStruct = (object) => ({
  fields: Object.fromEntries(Object.entries(object).map(([name, value]) => [name, toValue(value)])),
});

export const fromStruct = (struct) =>
  Object.fromEntries(Object.entries(struct?.fields ?? {}).map(([name, value]) => [name, fromValue(value)]));

function toValue(value) {
  if (value === null) return { nullValue: "NULL_VALUE" };
  if (typeof value === "number") return { numberValue: value };
  if (typeof value === "string") return { stringValue: value };
  if (typeof value === "boolean") return { boolValue: value };
  if (Array.isArray(value)) return { listValue: { values: value.map(toValue) } };
  return { structValue: toStruct(value) };
}

function fromValue(value) {
  if (value.kind === "listValue") return value.listValue.values.map(fromValue);
  if (value.kind === "structValue") return fromStruct(value.structValue);
  return value.kind === "nullValue" ? null : value[value.kind];
}
