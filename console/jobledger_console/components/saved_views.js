// Named filters of this browser. They are kept in it, and hold no key: the server never sees their names.
const STORE = "jobledger.views";

function load() {
  try {
    const views = JSON.parse(localStorage.getItem(STORE) || "[]");
    return Array.isArray(views) ? views.filter((view) => typeof view.name === "string" && typeof view.query === "string") : [];
  } catch {
    return [];
  }
}

export default {
  template: `
    <span class="row-of views">
      <label class="labelled"><span class="quiet">Saved view</span>
        <select class="field" @change="open($event.target.value)" :disabled="!views.length">
          <option value="">{{ views.length ? "choose …" : "none yet" }}</option>
          <option v-for="view in views" :key="view.name" :value="view.name">{{ view.name }}</option>
        </select>
      </label>
      <button v-if="!naming" type="button" class="button" @click="begin">Save view</button>
      <form v-else class="row-of" @submit.prevent="save">
        <label class="labelled"><span class="quiet">Name of the view</span>
          <input ref="name" class="field" v-model="name" maxlength="60" required @keydown.esc="naming = false"></label>
        <button type="submit" class="button primary">Save</button>
        <button v-if="known" type="button" class="button" @click="remove">Remove</button>
      </form>
    </span>`,
  data() {
    return { views: load(), naming: false, name: "" };
  },
  computed: {
    known() {
      return this.views.some((view) => view.name === this.name.trim());
    },
  },
  methods: {
    begin() {
      this.naming = true;
      const query = this.query();
      this.name = (this.views.find((view) => view.query === query) || { name: "" }).name;
      this.$nextTick(() => this.$refs.name.focus());
    },
    query() {
      const query = new URLSearchParams(location.search);
      query.delete("after");
      return query.toString();
    },
    keep(views) {
      this.views = views.sort((one, other) => one.name.localeCompare(other.name));
      localStorage.setItem(STORE, JSON.stringify(this.views));
      this.naming = false;
    },
    save() {
      const name = this.name.trim();
      if (name) this.keep([...this.views.filter((view) => view.name !== name), { name, query: this.query() }]);
    },
    remove() {
      this.keep(this.views.filter((view) => view.name !== this.name.trim()));
    },
    open(name) {
      const view = this.views.find((one) => one.name === name);
      if (view) location.search = view.query;
    },
  },
};
