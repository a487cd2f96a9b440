// Attempts as bars in rows by worker, over time. A bar without an end grows until now.
const ROW = 15;
const TOP = 20;

export default {
  template: `
    <div class="timeline" ref="frame">
      <svg :width="width" :height="height" role="img" :aria-label="label">
        <g v-for="tick in ticks" :key="tick.x">
          <line :x1="tick.x" :x2="tick.x" :y1="TOP - 4" :y2="height" class="grid"></line>
          <text :x="tick.x" y="11" class="tick" :text-anchor="tick.anchor">{{ tick.text }}</text>
        </g>
        <g v-for="(row, i) in placed" :key="row.name">
          <text x="0" :y="row.y + 11" class="worker">{{ row.short }}<title>{{ row.name }}</title></text>
          <line :x1="0" :x2="width" :y1="row.y + row.height - 1" :y2="row.y + row.height - 1" class="grid"></line>
        </g>
        <rect v-for="bar in drawn" :key="bar.key" :x="bar.x" :y="bar.y" :width="bar.w" :height="ROW - 4" rx="2" class="bar"
          :class="'bar-' + bar.outcome" @click="$emit('chunk', bar.chunk)"><title>{{ bar.text }}</title></rect>
        <line v-if="running" :x1="x(now)" :x2="x(now)" :y1="TOP - 4" :y2="height" class="now"></line>
      </svg>
    </div>`,
  props: { rows: Array, bars: Array },
  data() {
    return { width: 600, now: Date.now() / 1000, ROW, TOP, shownRows: this.rows || [], shownBars: this.bars || [] };
  },
  computed: {
    running() {
      return this.shownBars.some((bar) => bar[3] === null);
    },
    gutter() {
      return Math.min(150, Math.max(60, this.width * 0.15));
    },
    from() {
      return this.shownBars.length ? Math.min(...this.shownBars.map((bar) => bar[2])) : this.now - 60;
    },
    until() {
      const ends = this.shownBars.map((bar) => (bar[3] === null ? this.now : bar[3]));
      return Math.max(this.from + 1, ...ends);
    },
    placed() {
      let y = TOP;
      return this.shownRows.map(([name, lanes]) => {
        const row = { name, y, height: lanes * ROW + 4, short: name.length > 20 ? name.slice(0, 19) + "…" : name };
        y += row.height;
        return row;
      });
    },
    height() {
      return TOP + 4 + this.placed.reduce((sum, row) => sum + row.height, 0);
    },
    drawn() {
      return this.shownBars.map(([row, lane, start, end, outcome, chunk, code]) => {
        const until = end === null ? this.now : end;
        const x = this.x(start);
        const seconds = Math.max(until - start, 0).toFixed(1);
        return {
          key: `${chunk}-${start}`, chunk, outcome, x, y: this.placed[row].y + lane * ROW + 2,
          w: Math.max(this.x(until) - x, 2),
          text: `chunk ${chunk}: ${outcome.toLowerCase().replace("_", " ")}${code ? " " + code : ""}, ${seconds} s`,
        };
      });
    },
    ticks() {
      const count = Math.max(2, Math.floor((this.width - this.gutter) / 130));
      const span = this.until - this.from;
      return Array.from({ length: count + 1 }, (_, i) => {
        const time = this.from + (span * i) / count;
        const anchor = i === 0 ? "start" : i === count ? "end" : "middle";
        return { x: this.x(time), text: new Date(time * 1000).toLocaleTimeString(), anchor };
      });
    },
    label() {
      return `Timeline of ${this.shownBars.length} attempts by ${this.shownRows.length} workers`;
    },
  },
  mounted() {
    this.observer = new ResizeObserver(() => (this.width = Math.max(this.$el.clientWidth, 200)));
    this.observer.observe(this.$el);
    this.clock = setInterval(() => this.running && (this.now = Date.now() / 1000), 1000);
  },
  unmounted() {
    this.observer.disconnect();
    clearInterval(this.clock);
  },
  methods: {
    x(time) {
      return this.gutter + ((time - this.from) / (this.until - this.from)) * (this.width - this.gutter - 2);
    },
    replace(rows, bars) {
      this.now = Date.now() / 1000;
      this.shownRows = rows;
      this.shownBars = bars;
    },
  },
};
