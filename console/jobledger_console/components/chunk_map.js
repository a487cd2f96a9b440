// A cell a chunk, up to 10,000 and more, coloured by state. The server sends states, and then what changed.
const NAMES = ["", "PENDING", "PROCESSING", "COMPLETED", "FAILED", "CANCELLED"];
const VARIABLES = ["", "track", "running", "completed", "failed", "cancelled"];

export default {
  template: `
    <div class="chunk-map">
      <canvas ref="canvas" tabindex="0" role="img" :aria-label="label" @mousemove="hover" @mouseleave="pointed = -1; draw()"
        @click="open(pointed)" @keydown="key" @focus="focus" @blur="pointed = -1; draw()"></canvas>
      <div class="quiet hint" aria-live="polite">{{ hint }}</div>
    </div>`,
  props: { states: String, noun: String },
  data() {
    return { cells: Array.from(this.states || "", Number), pointed: -1, columns: 1, size: 12 };
  },
  computed: {
    hint() {
      if (this.pointed < 0) return "Point at a cell, or move with the arrow keys; a click or Enter shows the chunk.";
      return `chunk ${this.pointed}: ${(NAMES[this.cells[this.pointed]] || "unknown").toLowerCase()}`;
    },
    label() {
      const counts = NAMES.map((name, code) => [name, this.cells.filter((cell) => cell === code).length]);
      const words = counts.filter(([name, count]) => name && count).map(([name, count]) => `${count} ${name.toLowerCase()}`);
      return `Map of ${this.cells.length} chunks: ${words.join(", ")}`;
    },
  },
  mounted() {
    this.observer = new ResizeObserver(() => this.layout());
    this.observer.observe(this.$el);
    this.layout();
  },
  unmounted() {
    this.observer.disconnect();
  },
  methods: {
    replace(states) {
      this.cells = Array.from(states, Number);
      this.layout();
    },
    patch(changes) {
      for (const [index, code] of changes) this.cells[index] = code;
      this.draw();
    },
    layout() {
      const width = Math.max(this.$el.clientWidth, 100);
      const count = Math.max(this.cells.length, 1);
      const fitting = Math.floor(Math.sqrt((width * 260) / count));
      this.size = Math.max(5, Math.min(22, fitting));
      this.columns = Math.max(1, Math.floor(width / this.size));
      const canvas = this.$refs.canvas;
      const ratio = window.devicePixelRatio || 1;
      const height = Math.ceil(count / this.columns) * this.size;
      canvas.style.width = `${this.columns * this.size}px`;
      canvas.style.height = `${height}px`;
      canvas.width = this.columns * this.size * ratio;
      canvas.height = height * ratio;
      this.draw();
    },
    draw() {
      const canvas = this.$refs.canvas;
      if (!canvas) return;
      const context = canvas.getContext("2d");
      const ratio = window.devicePixelRatio || 1;
      const style = getComputedStyle(document.body);
      const colours = VARIABLES.map((name) => (name ? style.getPropertyValue(`--${name}`) : "transparent"));
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, canvas.width, canvas.height);
      const gap = this.size > 7 ? 2 : 1;
      const side = this.size - gap;
      for (let index = 0; index < this.cells.length; index++) {
        const x = (index % this.columns) * this.size;
        const y = Math.floor(index / this.columns) * this.size;
        const code = this.cells[index];
        context.fillStyle = colours[code] || colours[1];
        context.fillRect(x, y, side, side);
        if (code === 4 || code === 5) {
          // A mark beside the colour: a cross for failed, a bar for cancelled.
          context.strokeStyle = style.getPropertyValue("--card");
          context.lineWidth = Math.max(1, side / 8);
          context.beginPath();
          context.moveTo(x + side * 0.25, y + side * (code === 4 ? 0.25 : 0.5));
          context.lineTo(x + side * 0.75, y + side * (code === 4 ? 0.75 : 0.5));
          if (code === 4) {
            context.moveTo(x + side * 0.75, y + side * 0.25);
            context.lineTo(x + side * 0.25, y + side * 0.75);
          }
          context.stroke();
        }
      }
      if (this.pointed >= 0) {
        context.strokeStyle = style.getPropertyValue("--text");
        context.lineWidth = 2;
        const x = (this.pointed % this.columns) * this.size;
        const y = Math.floor(this.pointed / this.columns) * this.size;
        context.strokeRect(x + 1, y + 1, Math.max(side - 2, 2), Math.max(side - 2, 2));
      }
    },
    hover(event) {
      const column = Math.floor(event.offsetX / this.size);
      const index = Math.floor(event.offsetY / this.size) * this.columns + column;
      this.point(column < this.columns && index < this.cells.length ? index : -1);
    },
    focus() {
      if (this.pointed < 0 && this.cells.length) this.point(0);
    },
    point(index) {
      if (index !== this.pointed) {
        this.pointed = index;
        this.draw();
      }
    },
    key(event) {
      const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.columns, ArrowUp: -this.columns };
      if (event.key in steps) {
        const next = Math.max(this.pointed, 0) + steps[event.key];
        if (next >= 0 && next < this.cells.length) this.point(next);
        event.preventDefault();
      } else if (event.key === "Enter" || event.key === " ") {
        this.open(this.pointed);
        event.preventDefault();
      }
    },
    open(index) {
      if (index >= 0) this.$emit("chunk", index);
    },
  },
};
