// What the document under the mouse says, on either map. Its text is asked of the server when the mouse rests on its
// point, so no text travels that nobody reads. Our own map tells by an event which point that is; Streamlit tells of no
// hovering over Plotly's, but Plotly itself does.

const REST = 150 // milliseconds

const readers = new WeakMap() // element -> its reader

export default function ({ data, parentElement, setStateValue }) {
  if (!readers.has(parentElement)) readers.set(parentElement, new Reader(parentElement))
  const reader = readers.get(parentElement)
  reader.ask = row => setStateValue("row", row)
  reader.hear(data)
  return () => {
    reader.close()
    readers.delete(parentElement)
  }
}

class Reader {
  constructor(root) {
    this.tip = made("div", "tip", root)
    this.tip.hidden = true
    this.said = new Map() // document -> [facts, the beginning of its text]
    this.row = null // the document under the mouse
    document.addEventListener("climb-point", this.pointed)
  }

  hear({ source, row, said, plot }) {
    if (source !== this.source) this.said.clear()
    this.source = source
    if (row !== null) this.said.set(row, said)
    if (row !== null && row === this.row) this.speak(...said)
    if (plot !== this.plot) this.watch(plot)
    this.plot = plot
  }

  close() {
    this.watch("")
    document.removeEventListener("climb-point", this.pointed)
    this.out()
    this.tip.remove()
  }

  pointed = ({ detail }) => (detail ? this.over(detail.row, detail.known, detail.x, detail.y) : this.out())

  over(row, known, x, y) {
    const left = x > innerWidth / 2
    this.tip.style.transform = `translate(${x + (left ? -14 : 14)}px, ${y}px) translate(${left ? "-100%" : 0}, -50%)`
    if (row === this.row) return
    clearTimeout(this.resting)
    this.row = row
    if (this.said.has(row)) return this.speak(...this.said.get(row))
    this.speak(known, "…")
    this.resting = setTimeout(() => this.ask(row), REST)
  }

  out = () => {
    clearTimeout(this.resting)
    this.row = null
    this.tip.hidden = true
  }

  speak(facts, text) {
    this.tip.replaceChildren()
    made("div", "facts", this.tip, facts)
    made("div", "said", this.tip, text)
    this.tip.hidden = false
  }

  // ---- Plotly's map

  watch(selector) {
    this.watcher?.disconnect()
    for (const kind of ["pointerleave", "pointerdown"]) this.place?.removeEventListener(kind, this.out)
    this.place = selector && document.querySelector(selector)
    if (!this.place) return
    for (const kind of ["pointerleave", "pointerdown"]) this.place.addEventListener(kind, this.out)
    this.watcher = new MutationObserver(() => this.hook())
    this.watcher.observe(this.place, { childList: true, subtree: true }) // the plot comes late, and may come anew
    this.hook()
  }

  hook() {
    const plot = this.place.querySelector(".js-plotly-plot")
    if (!plot?.on || plot.on === this.hooked) return
    this.hooked = plot.on
    plot.on("plotly_hover", ({ points, event }) => {
      const row = points[0].customdata
      if (Number.isInteger(row)) this.over(row, `document ${row.toLocaleString("en")}`, event.clientX, event.clientY)
    })
    plot.on("plotly_unhover", this.out)
  }
}

function made(tag, className, parent, text = "") {
  const element = document.createElement(tag)
  element.className = className
  element.textContent = text // other people's text: never markup
  parent.append(element)
  return element
}
