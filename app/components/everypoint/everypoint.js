// A map with every document as a point (WebGL2). Pan, zoom, hover and labels stay here; a click or a lasso is told.
// Large arrays come by themselves, each under an address, so that they travel once: see keep() and fetched().

const STEPS = 65535 // positions are whole numbers from 0 to this, across the map and up
const CLOSEST = 64 // zoom at which a step is still about a pixel
const REACH = 9 // pixels from a point that still hit it
const LASSO_POINTS = 200 // at most, so that what is told stays small
const CLUSTERS_FROM = 2.2 // zoom from which clusters are named too

const stock = new Map() // address -> bytes
const waiting = new Map() // address -> those who wait for it
const held = new WeakMap() // element -> the address that it brought
const maps = new WeakMap() // element -> its map

export default function ({ data, parentElement, setStateValue }) {
  if (data instanceof Uint8Array) return keep(data, parentElement)
  if (data.probe) return probe(setStateValue)
  if (!maps.has(parentElement)) maps.set(parentElement, new PointMap(parentElement))
  const map = maps.get(parentElement)
  map.tell = setStateValue
  map.show(data)
  return () => {
    map.close()
    maps.delete(parentElement)
  }
}

function probe(tell) {
  const gl = document.createElement("canvas").getContext("webgl2")
  if (!gl) tell("missing", true)
  gl?.getExtension("WEBGL_lose_context")?.loseContext()
}

function keep(bytes, element) {
  const address = new TextDecoder().decode(bytes.subarray(0, 12))
  const drop = () => stock.delete(held.get(element))
  if (held.get(element) !== address) {
    drop()
    stock.set(address, bytes.slice(12))
    held.set(element, address)
    for (const resolve of waiting.get(address) ?? []) resolve(stock.get(address))
    waiting.delete(address)
  }
  return () => {
    drop()
    held.delete(element)
  }
}

function fetched(address) {
  if (stock.has(address)) return Promise.resolve(stock.get(address))
  return new Promise(resolve => waiting.set(address, [...(waiting.get(address) ?? []), resolve]))
}

const VERTEX = `#version 300 es
  in vec2 at;
  in float group;
  uniform vec3 view; // centre and zoom
  uniform mediump float size;
  uniform float alpha;
  uniform sampler2D palette;
  out vec4 colour;
  void main() {
    gl_Position = vec4((at - view.xy) * view.z * 2.0, 0, 1);
    gl_PointSize = size;
    colour = vec4(texelFetch(palette, ivec2(int(group), 0), 0).rgb * alpha, alpha);
  }`

const FRAGMENT = `#version 300 es
  precision mediump float;
  in vec4 colour;
  uniform mediump float size;
  out vec4 pixel;
  void main() {
    pixel = colour * clamp((0.5 - length(gl_PointCoord - 0.5)) * size + 0.5, 0.0, 1.0);
  }`

class Points {
  // The points as the graphics card has them.

  constructor(canvas) {
    const gl = canvas.getContext("webgl2", { premultipliedAlpha: true, antialias: false })
    if (!gl) throw new Error("no WebGL2")
    this.gl = gl
    this.program = gl.createProgram()
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind)
      gl.shaderSource(shader, source)
      gl.compileShader(shader)
      gl.attachShader(this.program, shader)
    }
    gl.linkProgram(this.program)
    gl.useProgram(this.program)
    gl.enable(gl.BLEND)
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA)
    this.buffers = { at: gl.createBuffer(), group: gl.createBuffer(), order: gl.createBuffer() }
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture())
    for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER])
      gl.texParameteri(gl.TEXTURE_2D, filter, gl.NEAREST)
    this.count = 0
  }

  place(positions) {
    this._attribute("at", positions, 2, this.gl.UNSIGNED_SHORT, true)
    this.gl.bindBuffer(this.gl.ELEMENT_ARRAY_BUFFER, this.buffers.order)
    this.gl.bufferData(this.gl.ELEMENT_ARRAY_BUFFER, scattered(positions.length / 2), this.gl.STATIC_DRAW)
    this.count = positions.length / 2
  }

  paint(groups, palette) {
    const { gl } = this
    this._attribute("group", groups, 1, gl.UNSIGNED_BYTE, false)
    const colours = new Uint8Array(palette.flatMap(rgb))
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1)
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB8, palette.length, 1, 0, gl.RGB, gl.UNSIGNED_BYTE, colours)
  }

  draw(view, size, alpha) {
    const { gl, program } = this
    gl.viewport(0, 0, gl.canvas.width, gl.canvas.height)
    gl.clear(gl.COLOR_BUFFER_BIT)
    gl.uniform3f(gl.getUniformLocation(program, "view"), view.x, view.y, view.zoom)
    gl.uniform1f(gl.getUniformLocation(program, "size"), size)
    gl.uniform1f(gl.getUniformLocation(program, "alpha"), alpha)
    gl.drawElements(gl.POINTS, this.count, gl.UNSIGNED_INT, 0)
  }

  _attribute(name, values, parts, type, normalised) {
    const { gl, program } = this
    const place = gl.getAttribLocation(program, name)
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name])
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW)
    gl.enableVertexAttribArray(place)
    gl.vertexAttribPointer(place, parts, type, normalised, 0, 0)
  }
}

function scattered(n) {
  // Documents of one source often follow each other; drawn in this order the last of them do not cover the others.
  let step = Math.max(1, Math.floor(n * 0.6180339887))
  while (common(step, n) > 1) step++
  const order = new Uint32Array(n)
  for (let i = 0, at = 0; i < n; i++, at = (at + step) % n) order[i] = at
  return order
}

const common = (a, b) => (b ? common(b, a % b) : a)
const rgb = colour => [1, 3, 5].map(i => parseInt(colour.slice(i, i + 2), 16))
const clamp = (value, low, high) => Math.min(high, Math.max(low, value))

function made(tag, className, parent, text = "") {
  const element = document.createElement(tag)
  element.className = className
  element.textContent = text // names are other people's text: never markup
  parent.append(element)
  return element
}

class PointMap {
  constructor(root) {
    this.frame = made("div", "map", root)
    this.canvas = made("canvas", "points", this.frame)
    this.over = made("canvas", "over", this.frame)
    this.names = made("div", "names", this.frame)
    this.scale = made("div", "scale", this.frame)
    this.status = made("div", "status", this.frame, "Waiting for the points …")
    this.view = { x: 0.5, y: 0.5, zoom: 1 }
    this.labels = []
    this.frame.tabIndex = 0
    this.frame.setAttribute("role", "application")
    this._tools()
    this._listen()
    this.watcher = new ResizeObserver(() => this.redraw())
    this.watcher.observe(this.frame)
  }

  async show(data) {
    this.frame.style.height = `${data.height}px`
    this.frame.setAttribute("aria-label", data.alt)
    this.wanted = data
    try {
      this.points ??= new Points(this.canvas)
    } catch {
      this.status.textContent = "WebGL is off in this browser."
      return this.tell("missing", true)
    }
    const [positions, groups] = await Promise.all([fetched(data.positions), fetched(data.colours)])
    if (this.wanted !== data || !this.points) return // something newer came meanwhile, or the map is gone
    if (this.placed !== data.positions) {
      if (this.placed) this.view = { x: 0.5, y: 0.5, zoom: 1 }
      this.at = new Uint16Array(positions.buffer)
      this.points.place(this.at)
      this.placed = data.positions
    }
    if (this.painted !== data.colours) {
      this.groups = groups
      this.points.paint(groups, data.palette)
      this.painted = data.colours
    }
    this.data = data
    this.path = null
    this._label(data.labels)
    this._legend(data)
    this.redraw()
  }

  close() {
    this.watcher.disconnect()
    this.points?.gl.getExtension("WEBGL_lose_context")?.loseContext()
    this.points = this.wanted = null
  }

  redraw() {
    if (this.frameAsked) return
    this.frameAsked = requestAnimationFrame(() => {
      this.frameAsked = 0
      if (this.points && this.data) this._draw()
    })
  }

  _draw() {
    const { clientWidth: width, clientHeight: height } = this.frame
    const dense = devicePixelRatio || 1
    for (const canvas of [this.canvas, this.over]) {
      if (canvas.width !== Math.round(width * dense) || canvas.height !== Math.round(height * dense)) {
        canvas.width = Math.round(width * dense)
        canvas.height = Math.round(height * dense)
      }
    }
    const { x, y, zoom } = this.view
    const crowd = this.points.count / (width * height * zoom ** 2) // points to a pixel, about
    const size = clamp(1.6 * crowd ** -0.18, 1.4, 8)
    const drawn = [x, y, zoom, width, height, dense, this.placed, this.painted].join()
    if (drawn !== this.drawn) this.points.draw(this.view, size * dense, clamp(0.14 * crowd ** -0.35, 0.05, 0.85))
    this.drawn = drawn // a lasso or a ring needs no millions of points to be drawn again
    this._overlay(size, dense)
    this._arrange()
    this.status.textContent = `${this.points.count.toLocaleString("en")} points`
    this.frame.dataset.points = this.points.count
    this.frame.dataset.zoom = this.view.zoom.toFixed(2)
  }

  // ---- from the map to the screen and back; both 0 to 1 across and up on the map, pixels on the screen

  toScreen(u, v) {
    const { x, y, zoom } = this.view
    return [((u - x) * zoom + 0.5) * this.frame.clientWidth, (0.5 - (v - y) * zoom) * this.frame.clientHeight]
  }

  toMap(px, py) {
    const { x, y, zoom } = this.view
    return [(px / this.frame.clientWidth - 0.5) / zoom + x, (0.5 - py / this.frame.clientHeight) / zoom + y]
  }

  zoomBy(factor, px = this.frame.clientWidth / 2, py = this.frame.clientHeight / 2) {
    const [u, v] = this.toMap(px, py)
    this.view.zoom = clamp(this.view.zoom * factor, 0.8, CLOSEST)
    const [u1, v1] = this.toMap(px, py)
    this.moveBy(u - u1, v - v1)
  }

  moveBy(du, dv) {
    this.view.x = clamp(this.view.x + du, 0, 1)
    this.view.y = clamp(this.view.y + dv, 0, 1)
    this._silent()
    this.redraw()
  }

  nearest(px, py) {
    const [u, v] = this.toMap(px, py).map(part => part * STEPS)
    const wide = (REACH / this.frame.clientWidth / this.view.zoom) * STEPS
    const high = (REACH / this.frame.clientHeight / this.view.zoom) * STEPS
    let found = -1
    let least = 1
    for (let i = 0; i < this.at.length; i += 2) {
      const dx = (this.at[i] - u) / wide
      if (dx > 1 || dx < -1) continue
      const dy = (this.at[i + 1] - v) / high
      const distance = dx * dx + dy * dy
      if (distance < least) [found, least] = [i / 2, distance]
    }
    return found
  }

  // ---- what lies over the points

  _overlay(size, dense) {
    const pen = this.over.getContext("2d")
    pen.setTransform(dense, 0, 0, dense, 0, 0)
    pen.clearRect(0, 0, this.frame.clientWidth, this.frame.clientHeight)
    pen.lineWidth = 1.6
    pen.strokeStyle = "#e0533d"
    for (const row of this.data.marked) {
      const [px, py] = this.toScreen(this.at[2 * row] / STEPS, this.at[2 * row + 1] / STEPS)
      pen.beginPath()
      pen.arc(px, py, size / 2 + 3.5, 0, 2 * Math.PI)
      pen.stroke()
    }
    pen.strokeStyle = getComputedStyle(this.frame).color
    pen.setLineDash([5, 4])
    for (const shape of this.path ? [this.path] : this.data.shapes) {
      pen.beginPath()
      for (const [u, v] of shape) pen.lineTo(...this.toScreen(u, v))
      if (shape !== this.path) pen.closePath()
      pen.stroke()
    }
    pen.setLineDash([])
  }

  _label(labels) {
    const key = JSON.stringify(labels)
    if (key === this.labelled) return
    this.labelled = key
    this.names.replaceChildren()
    const pen = this.over.getContext("2d")
    const font = getComputedStyle(this.frame).fontFamily
    this.labels = labels.map(([text, u, v, level]) => {
      pen.font = `${level ? "11px" : "bold 12px"} ${font}`
      const element = made("div", level ? "name cluster" : "name", this.names, text)
      return { element, u, v, level, half: pen.measureText(text).width / 2 + 6 }
    })
  }

  _arrange() {
    // The largest come first, and a name is shown where it covers none that came before it.
    const { clientWidth: width, clientHeight: height } = this.frame
    const shown = []
    for (const { element, u, v, level, half } of this.labels) {
      const [px, py] = this.toScreen(u, v)
      const within = px > half && px < width - half && py > 12 && py < height - 12
      const fits = other => Math.abs(px - other.px) > half + other.half || Math.abs(py - other.py) > 19
      const show = within && (!level || this.view.zoom >= CLUSTERS_FROM) && shown.every(fits)
      element.hidden = !show
      if (!show) continue
      shown.push({ px, py, half })
      element.style.transform = `translate(${px}px, ${py}px) translate(-50%, -50%)`
    }
  }

  _legend({ scale, palette, title, legend }) {
    this.scale.replaceChildren()
    this.scale.hidden = !scale && !legend.length
    this.scale.classList.toggle("groups", !scale)
    for (const [name, colour] of legend) {
      const entry = made("div", "entry", this.scale)
      made("span", "dot", entry).style.background = colour
      made("span", "", entry, name)
    }
    if (!scale) return
    made("div", "", this.scale, title)
    const stops = palette.slice(0, -1).filter((_, i) => i % 16 === 0)
    made("div", "bar", this.scale).style.background = `linear-gradient(to right, ${stops.join(",")})`
    const ends = made("div", "ends", this.scale)
    for (const end of scale) made("span", "", ends, `${+end.toPrecision(3)}`)
  }

  _point(px, py) {
    const row = this.nearest(px, py)
    if (row < 0) return this._silent()
    const [x, y] = this.toScreen(this.at[2 * row] / STEPS, this.at[2 * row + 1] / STEPS)
    const box = this.frame.getBoundingClientRect()
    this._hovered({ row, known: this._known(row), x: box.left + x, y: box.top + y })
  }

  _silent() {
    this._hovered(null)
  }

  _hovered(detail) {
    this.frame.dispatchEvent(new CustomEvent("climb-point", { bubbles: true, composed: true, detail }))
  }

  _known(row) {
    // What the browser knows of a document without asking.
    const { names, scale, palette, title } = this.data
    const group = this.groups[row]
    const known = group < palette.length - 1
    const value = scale && (known ? +(scale[0] + (group / (palette.length - 2)) * (scale[1] - scale[0])).toPrecision(2) : "not known")
    return `${scale ? `${title} ${value}` : names[group]} · document ${row.toLocaleString("en")}`
  }

  // ---- hands

  _tools() {
    const bar = made("div", "tools", this.frame)
    const tool = (text, label, act) => {
      const button = made("button", "", bar, text)
      button.type = "button"
      button.title = label
      button.setAttribute("aria-label", label)
      button.onclick = act
      return button
    }
    const lasso = tool("Lasso", "Draw around documents (or drag with Shift)", () => {
      this.lassoing = !this.lassoing
      lasso.setAttribute("aria-pressed", this.lassoing)
      this.frame.classList.toggle("lassoing", this.lassoing)
    })
    lasso.setAttribute("aria-pressed", false)
    tool("+", "Zoom in", () => this.zoomBy(1.6))
    tool("−", "Zoom out", () => this.zoomBy(1 / 1.6))
    tool("All", "Show the whole map", () => this._whole())
    bar.onpointerdown = event => event.stopPropagation()
  }

  _whole() {
    Object.assign(this.view, { x: 0.5, y: 0.5, zoom: 1 })
    this.moveBy(0, 0)
  }

  _listen() {
    const { frame } = this
    frame.onpointerdown = event => this._press(event)
    frame.onpointermove = event => this._move(event)
    frame.onpointerup = event => this._release(event)
    frame.onpointercancel = () => this._drop()
    frame.onpointerleave = () => this._silent()
    frame.onkeydown = event => this._key(event)
    frame.addEventListener("wheel", event => this._wheel(event), { passive: false })
    this.canvas.addEventListener("webglcontextlost", event => event.preventDefault())
    this.canvas.addEventListener("webglcontextrestored", () => {
      this.points = this.painted = this.drawn = null
      const view = { ...this.view }
      this.placed = null
      if (this.wanted) this.show({ ...this.wanted }).then(() => Object.assign(this.view, view))
    })
  }

  _spot(event) {
    const box = this.frame.getBoundingClientRect()
    return [event.clientX - box.left, event.clientY - box.top]
  }

  _press(event) {
    if (event.button !== 0 || !this.data) return
    const spot = this._spot(event)
    this.frame.setPointerCapture(event.pointerId)
    this.press = { spot, last: spot, lasso: this.lassoing || event.shiftKey, far: false }
  }

  _move(event) {
    if (!this.data) return
    const spot = this._spot(event)
    if (!this.press) {
      cancelAnimationFrame(this.hovering)
      this.hovering = requestAnimationFrame(() => this.data && !this.press && this._point(...spot))
      return
    }
    const { press } = this
    press.far ||= Math.hypot(spot[0] - press.spot[0], spot[1] - press.spot[1]) > 4
    if (!press.far) return
    if (press.lasso) {
      this.path ??= [this.toMap(...press.spot)]
      if (Math.hypot(spot[0] - press.last[0], spot[1] - press.last[1]) < 3) return
      this.path.push(this.toMap(...spot))
      this.redraw()
    } else {
      const [u, v] = this.toMap(...press.last)
      const [u1, v1] = this.toMap(...spot)
      this.moveBy(u - u1, v - v1)
    }
    press.last = spot
  }

  _release(event) {
    const { press, path } = this
    this.press = null
    if (!press) return
    if (!press.far) return this._click(...this._spot(event))
    if (!press.lasso || !path || path.length < 3) return this._drop()
    const every = Math.ceil(path.length / LASSO_POINTS)
    const [left, right, bottom, top] = this.data.box
    const kept = path.filter((_, i) => i % every === 0)
    const x = kept.map(([u]) => left + u * (right - left))
    const y = kept.map(([, v]) => bottom + v * (top - bottom))
    this._told({ points: [], box: [], lasso: [{ x, y }] })
  }

  _drop() {
    this.press = this.path = null
    this.redraw()
  }

  _click(px, py) {
    const row = this.nearest(px, py)
    if (row >= 0) this._told({ points: [{ customdata: row }], box: [], lasso: [] })
  }

  _told(selection) {
    this.tell("selection", { ...selection, at: Date.now() }) // so that the same point can be clicked again
  }

  _wheel(event) {
    event.preventDefault()
    const lines = event.deltaMode === 1 ? 16 : 1
    this.zoomBy(Math.exp(-clamp(event.deltaY * lines, -240, 240) / 400), ...this._spot(event))
  }

  _key(event) {
    const step = 0.1 / this.view.zoom
    const act = {
      "+": () => this.zoomBy(1.6), "=": () => this.zoomBy(1.6), "-": () => this.zoomBy(1 / 1.6), 0: () => this._whole(),
      ArrowLeft: () => this.moveBy(-step, 0), ArrowRight: () => this.moveBy(step, 0),
      ArrowUp: () => this.moveBy(0, step), ArrowDown: () => this.moveBy(0, -step), Escape: () => this._drop(),
    }[event.key]
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return
    event.preventDefault()
    act()
  }
}
