// A table of rows that change: cells are text, and never markup. The server sends what changed.
const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  for (let i = 0; i < UNITS.length; i++) {
    const [size, unit] = UNITS[i];
    if (whole >= size || size === 1) {
      const rest = i + 1 < UNITS.length && size > 60 ? Math.floor((whole % size) / UNITS[i + 1][0]) : 0;
      return `${Math.floor(whole / size)} ${unit}` + (rest ? ` ${rest} ${UNITS[i + 1][1]}` : "");
    }
  }
}

function relative(milliseconds, now) {
  const seconds = (milliseconds - now) / 1000;
  if (Math.abs(seconds) < 1) return "now";
  return seconds < 0 ? `${span(-seconds)} ago` : `in ${span(seconds)}`;
}

export default {
  template: `
    <div class="table-frame">
    <table class="data" :class="{ selectable, acting }">
      <caption v-if="caption" class="hidden">{{ caption }}</caption>
      <thead><tr>
        <th v-if="selectable" scope="col" class="select">
          <input type="checkbox" aria-label="Select all on this page" :checked="allSelected" @change="selectAll($event.target.checked)">
        </th>
        <th v-for="c in columns" :key="c.name" scope="col" :class="['kind-' + c.kind, { optional: c.optional }]" :aria-sort="ariaSort(c)">
          <button v-if="c.sortable" type="button" class="plain sort" @click="$emit('sort', c.name)">{{ c.label }}<span aria-hidden="true"> {{ arrow(c) }}</span></button>
          <template v-else>{{ c.label }}</template>
        </th>
      </tr></thead>
      <tbody>
        <tr v-for="row in shown" :key="row.key" :class="{ selected: selected.has(row.key), fresh: fresh.has(row.key) }">
          <td v-if="selectable" class="select">
            <input type="checkbox" :aria-label="'Select ' + row.key" :checked="selected.has(row.key)" @change="select(row.key, $event.target.checked)">
          </td>
          <td v-for="c in columns" :key="c.name" :class="['kind-' + c.kind, { optional: c.optional }]" :data-label="c.label">
            <template v-if="row[c.name] === null || row[c.name] === undefined || row[c.name] === ''"><span class="none">–</span></template>
            <span v-else-if="c.kind === 'state'" class="state" :class="'state-' + row[c.name].name" :title="row[c.name].title">{{ row[c.name].text }}</span>
            <span v-else-if="c.kind === 'progress'" class="progress">
              <span class="track" role="progressbar" aria-valuemin="0" aria-valuemax="100" :aria-valuenow="Math.round(row[c.name].percent)" :aria-label="c.label">
                <span class="fill" :class="'fill-' + row[c.name].state" :style="{ width: row[c.name].percent + '%' }"></span>
              </span><span class="percent">{{ percent(row[c.name].percent) }}</span>
              <span v-if="row[c.name].text" class="sub">{{ row[c.name].text }}</span>
            </span>
            <time v-else-if="c.kind === 'eta'" :title="absolute(row[c.name])">{{ row[c.name] > now ? relative(row[c.name], now) : "any moment" }}</time>
            <time v-else-if="c.kind === 'time'" :title="absolute(row[c.name])" :datetime="iso(row[c.name])">{{ relative(row[c.name], now) }}</time>
            <span v-else-if="c.kind === 'link'"><a :href="row[c.name].href">{{ row[c.name].text }}</a><span v-if="row[c.name].sub" class="sub">{{ row[c.name].sub }}</span></span>
            <button v-else-if="c.kind === 'action'" type="button" class="button small" @click="$emit('action', { key: row.key, name: c.name })">{{ row[c.name] }}</button>
            <template v-else-if="c.kind === 'lines'"><div v-for="(line, i) in row[c.name]" :key="i">{{ line }}</div></template>
            <span v-else-if="c.kind === 'number'" class="number">{{ row[c.name] }}</span>
            <span v-else :title="String(row[c.name])">{{ row[c.name] }}</span>
          </td>
        </tr>
      </tbody>
    </table>
    </div>`,
  props: { columns: Array, rows: Array, selectable: Boolean, sort: Object, caption: String },
  data() {
    return { shown: this.rows || [], selected: new Set(), fresh: new Set(), now: Date.now() };
  },
  computed: {
    acting() {
      return this.columns.some((column) => column.kind === "action");
    },
    allSelected() {
      return this.shown.length > 0 && this.shown.every((row) => this.selected.has(row.key));
    },
  },
  mounted() {
    this.clock = setInterval(() => (this.now = Date.now()), 1000);
  },
  unmounted() {
    clearInterval(this.clock);
  },
  methods: {
    relative,
    patch(changed, order) {
      const rows = new Map(this.shown.map((row) => [row.key, row]));
      for (const row of changed) rows.set(row.key, row);
      if (order) {
        this.shown = order.map((key) => rows.get(key)).filter((row) => row);
        const present = new Set(order);
        const kept = [...this.selected].filter((key) => present.has(key));
        if (kept.length !== this.selected.size) this.choose(new Set(kept));
      } else {
        this.shown = this.shown.map((row) => rows.get(row.key));
      }
    },
    select(key, is) {
      const chosen = new Set(this.selected);
      is ? chosen.add(key) : chosen.delete(key);
      this.choose(chosen);
    },
    selectAll(is) {
      this.choose(new Set(is ? this.shown.map((row) => row.key) : []));
    },
    unselect() {
      this.choose(new Set());
    },
    choose(chosen) {
      this.selected = chosen;
      this.$emit("selection", [...chosen]);
    },
    arrow(column) {
      if (!this.sort || this.sort.column !== column.name) return "↕";
      return this.sort.ascending ? "↑" : "↓";
    },
    ariaSort(column) {
      if (!column.sortable) return undefined;
      if (!this.sort || this.sort.column !== column.name) return "none";
      return this.sort.ascending ? "ascending" : "descending";
    },
    percent(value) {
      return value >= 100 ? "100 %" : `${value.toFixed(1)} %`;
    },
    absolute(milliseconds) {
      return new Date(milliseconds).toLocaleString();
    },
    iso(milliseconds) {
      return new Date(milliseconds).toISOString();
    },
  },
};
