/**
 * The explorer of attention. The page holds an index (jets with their particles, colours) and, for each jet,
 * its logits as deflated text, which is read when the jet is chosen. A view is what one layer and head of a
 * jet give; everything drawn comes from the state and the view. Queries are rows, keys columns.
 */
(() => {
  "use strict";

  const SVG = "http://www.w3.org/2000/svg";
  const NAMES = { weights: "weight", qk: "QK", u: "U", sum: "QK + U" };
  const TITLES = {
    weights: "Attention weights",
    qk: "QK logits",
    u: "Pair bias U (all layers)",
    sum: "Logits QK + U",
  };
  const CACHED = 6; // jets kept decoded
  const RADIUS = 0.8; // of the jets, drawn as a circle

  const byId = (id) => document.getElementById(id);
  const page = JSON.parse(byId("index").textContent);
  const [LAYERS, HEADS] = page.shape;
  const parsed = new Promise((resolve) =>
    document.addEventListener("DOMContentLoaded", resolve, { once: true }),
  );

  const state = {
    jet: page.first,
    class: "all",
    layer: LAYERS - 1,
    head: null,
    threshold: 0.2,
    show: "weights",
    query: null,
  };
  const pointed = { query: null, key: null }; // what the pointer or the focus is on
  const decoded = new Map();
  const sheet = document.createElement("canvas");
  let view = null;
  let zoom = 1;
  let centre = null; // of the plane, where it is not the middle of all particles
  let lastPart = "sum";
  let byPointer = false;

  // ---------------------------------------------------------------- data

  /** Logits and weights of a jet, all layers and heads. */
  async function load(jet) {
    if (!decoded.has(jet)) {
      if (!byId(`jet-${jet}`)) await parsed;
      decoded.set(jet, await decode(byId(`jet-${jet}`).textContent, page.jets[jet]));
      if (decoded.size > CACHED) decoded.delete(decoded.keys().next().value);
    }
    return decoded.get(jet);
  }

  async function decode(text, { n, step }) {
    const packed = Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const logits = joinBytes(new Uint8Array(await new Response(stream).arrayBuffer()), step);
    const qk = logits.subarray(0, LAYERS * HEADS * n * n);
    const u = logits.subarray(qk.length);
    const sum = qk.map((value, place) => value + u[place % u.length]);
    return { qk, u, sum, weights: softmax(sum, n) };
  }

  /** All low bytes stand before all high ones. */
  function joinBytes(planes, step) {
    const values = new Float32Array(planes.length / 2);
    for (let i = 0; i < values.length; i++) {
      values[i] = step * (((planes[values.length + i] << 24) >> 16) | planes[i]);
    }
    return values;
  }

  /** Softmax of each row of n numbers. */
  function softmax(logits, n) {
    const weights = new Float32Array(logits.length);
    for (let row = 0; row < logits.length; row += n) {
      const largest = logits.subarray(row, row + n).reduce((a, b) => Math.max(a, b));
      let total = 0;
      for (let key = row; key < row + n; key++) total += weights[key] = Math.exp(logits[key] - largest);
      for (let key = row; key < row + n; key++) weights[key] /= total;
    }
    return weights;
  }

  /** What a layer and head of a jet give: maps of n x n, and of each query its strongest key. */
  function viewOf(jet, data, layer, head) {
    const { n, particles } = page.jets[jet];
    const cut = (map, place) => map.subarray(place * n * n, (place + 1) * n * n);
    const place = layer * HEADS + head;
    const maps = {
      qk: cut(data.qk, place),
      u: cut(data.u, head),
      sum: cut(data.sum, place),
      weights: cut(data.weights, place),
    };
    const strongest = Array.from({ length: n }, (_, query) =>
      largestOf(maps.weights.subarray(query * n, (query + 1) * n)),
    );
    return { n, particles, maps, strongest };
  }

  const largestOf = (row) => row.reduce((best, value, key) => (value > row[best] ? key : best), 0);
  const at = (name, query, key) => view.maps[name][query * view.n + key];

  /** A part of the logit less its mean over the row: what of it the softmax sees. */
  function centred(name, query, key) {
    const row = view.maps[name].subarray(query * view.n, (query + 1) * view.n);
    return row[key] - row.reduce((a, b) => a + b, 0) / view.n;
  }

  /** Ordered pairs of different particles whose weight is above the threshold, weakest first. */
  function linesOf({ n, maps }, query = null) {
    const lines = [];
    maps.weights.forEach((weight, place) => {
      const [from, to] = [Math.floor(place / n), place % n];
      if (weight > state.threshold && from !== to && (query === null || from === query))
        lines.push({ query: from, key: to, weight });
    });
    return lines.sort((a, b) => a.weight - b.weight);
  }

  /** Share of queries that have a weight on another particle above the threshold, (L * H). */
  function shares(data, n) {
    return Array.from({ length: LAYERS * HEADS }, (_, place) => {
      let count = 0;
      for (let query = 0; query < n; query++) {
        const row = data.weights.subarray((place * n + query) * n, (place * n + query + 1) * n);
        if (row.some((weight, key) => weight > state.threshold && key !== query)) count += 1;
      }
      return count / n;
    });
  }

  const jetsOfClass = () =>
    page.jets.map((_, jet) => jet).filter((jet) => state.class === "all" || className(jet) === state.class);
  const className = (jet) => page.classes[page.jets[jet].label];

  // ---------------------------------------------------------------- small tools

  /** An SVG element with its attributes, inside a parent. */
  function draw(parent, name, attributes, text) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  }

  /** An HTML element with text, inside a parent; text is never read as markup. */
  function add(parent, name, text, properties = {}) {
    const made = Object.assign(document.createElement(name), properties);
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  }

  const inkOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const within = (value, low, high) => Math.min(high, Math.max(low, value));
  const shade = (map, share) => page.colours[map][Math.round(255 * within(share, 0, 1))];
  const subjetColour = (subjet) => page.colours.subjets[Math.max(subjet, 0) % page.colours.subjets.length];
  const identityOf = (place) => page.identities[place < 0 ? page.identities.length - 1 : place];
  const signed = (value, digits = 2) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;

  /** Black or white, whichever is read on a colour like #rrggbb. */
  function inkOn(colour) {
    const [r, g, b] = [1, 3, 5].map((place) => parseInt(colour.slice(place, place + 2), 16));
    return 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#000" : "#fff";
  }

  // ---------------------------------------------------------------- particles' shapes, all of area pi r^2

  const polygon = (points) => `M${points.map((point) => point.join(" ")).join("L")}Z`;
  const turned = (points, angle) =>
    points.map(([x, y]) => [
      x * Math.cos(angle) - y * Math.sin(angle),
      x * Math.sin(angle) + y * Math.cos(angle),
    ]);
  const regular = (corners, r, angle) =>
    turned(
      Array.from({ length: corners }, (_, i) => [
        r * Math.cos((2 * Math.PI * i) / corners),
        r * Math.sin((2 * Math.PI * i) / corners),
      ]),
      angle,
    );

  function plus(r) {
    const arm = r * Math.sqrt((9 * Math.PI) / 20);
    const half = arm / 3;
    const quarter = [
      [half, -half],
      [arm, -half],
      [arm, half],
    ];
    return [0, 1, 2, 3].flatMap((turn) => turned(quarter, (turn * Math.PI) / 2));
  }

  const SHAPES = {
    "^": (r) => polygon(regular(3, 1.555 * r, -Math.PI / 2)),
    v: (r) => polygon(regular(3, 1.555 * r, Math.PI / 2)),
    o: (r) => `M${r} 0A${r} ${r} 0 1 1 ${-r} 0A${r} ${r} 0 1 1 ${r} 0Z`,
    P: (r) => polygon(plus(r)),
    X: (r) => polygon(turned(plus(r), Math.PI / 4)),
    D: (r) => polygon(regular(4, 1.2533 * r, 0)),
  };
  const shapeOf = (identity, r) => SHAPES[identityOf(identity)[1]](r);

  // ---------------------------------------------------------------- the eta-phi plane

  /** Places and radii of the particles in pixels, and the scale that gives them: at zoom 1 all of them fit. */
  function layout({ clientWidth: width, clientHeight: height }) {
    const { deta, dphi, pt } = view.particles;
    const [across, up] = [extent(deta), extent(dphi)];
    const scale = zoom * Math.min((width - 90) / across.length, (height - 90) / up.length);
    const middle = centre ?? [across.middle, up.middle];
    const place = (x, y) => [width / 2 + (x - middle[0]) * scale, height / 2 - (y - middle[1]) * scale];
    const radius = pt.map((value) => Math.max(3, (width / 36) * Math.sqrt(value / pt[0])));
    return {
      width,
      height,
      scale,
      middle,
      place,
      radius,
      at: deta.map((x, particle) => place(x, dphi[particle])),
    };
  }

  function extent(values) {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    return { middle: (low + high) / 2, length: Math.max(high - low, 0.1) };
  }

  function drawPlane() {
    const plane = byId("plane");
    const frame = layout(plane);
    plane.setAttribute("viewBox", `0 0 ${frame.width} ${frame.height}`);
    plane.replaceChildren();
    drawAxes(plane, frame);
    drawHulls(plane, frame);
    drawLines(plane, frame, linesOf(view, state.query));
    view.particles.pt.forEach((_, particle) => drawParticle(plane, frame, particle));
    drawPointed();
  }

  function drawAxes(plane, { width, height, scale, place }) {
    const [x, y] = place(0, 0);
    draw(plane, "path", { class: "grid", d: `M${x} 0V${height}M0 ${y}H${width}` });
    draw(plane, "circle", { class: "grid", cx: x, cy: y, r: RADIUS * scale, "stroke-dasharray": "4 4" });
    const step = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1].find((one) => width / (scale * one) < 9);
    for (let tick = -80; tick <= 80; tick++) {
      const value = tick * step;
      const [across, up] = [place(value, 0)[0], place(0, value)[1]];
      const text = value.toFixed(step < 0.1 ? 2 : 1).replace("-", "−");
      if (across > 45 && across < width - 40)
        draw(plane, "text", { class: "axis", x: across, y: height - 6, "text-anchor": "middle" }, text);
      if (up > 25 && up < height - 25) draw(plane, "text", { class: "axis", x: 5, y: up + 4 }, text);
    }
    draw(plane, "text", { class: "axis", x: width - 8, y: height - 6, "text-anchor": "end" }, "Δη");
    draw(plane, "text", { class: "axis", x: 5, y: 16 }, "Δφ (rad)");
  }

  /** A soft ground below each subjet, where there is more than one. */
  function drawHulls(plane, frame) {
    const { subjet } = view.particles;
    const subjets = new Set(subjet);
    if (subjets.size < 2) return;
    for (const one of subjets) {
      const d = polygon(convexHull(frame.at.filter((_, particle) => subjet[particle] === one)));
      draw(plane, "path", { class: "hull", d, fill: subjetColour(one), stroke: subjetColour(one) });
    }
  }

  /** Andrew's monotone chain. */
  function convexHull(points) {
    const sorted = [...points].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    const turn = (o, a, b) => (a[0] - o[0]) * (b[1] - o[1]) - (a[1] - o[1]) * (b[0] - o[0]);
    const chain = (ordered) =>
      ordered.reduce((hull, point) => {
        while (hull.length > 1 && turn(hull[hull.length - 2], hull[hull.length - 1], point) <= 0) hull.pop();
        return [...hull, point];
      }, []);
    return [
      ...chain(sorted).slice(0, -1),
      ...chain(sorted.reverse()).slice(0, -1),
      ...(points.length === 1 ? points : []),
    ];
  }

  function drawLines(plane, frame, lines) {
    const limit =
      state.show === "weights"
        ? 0
        : Math.max(1e-6, ...lines.map((line) => Math.abs(centred(state.show, line.query, line.key))));
    for (const line of lines) drawLine(plane, frame, line, limit);
    const selves = view.particles.pt.map((_, particle) => particle);
    for (const particle of selves.filter(
      (one) => at("weights", one, one) > state.threshold && (state.query === null || state.query === one),
    )) {
      const [cx, cy] = frame.at[particle];
      const attributes = {
        cx,
        cy,
        r: 1.5 * frame.radius[particle] + 3,
        "stroke-width": 0.8 + 3 * at("weights", particle, particle),
      };
      draw(plane, "circle", { class: "ring", "data-query": particle, "data-key": particle, ...attributes });
    }
  }

  /** An arrow from query to key, bent a little so that the two of a mutual pair lie side by side. */
  function drawLine(plane, frame, { query, key, weight }, limit, extra = "") {
    const { subjet } = view.particles;
    const between = subjet[query] !== subjet[key];
    const group = draw(plane, "g", {
      class: `pair ${extra}`,
      "data-query": query,
      "data-key": key,
      "data-between": between,
      opacity: 0.3 + 0.7 * Math.sqrt(weight),
    });
    if (limit) group.style.color = lineColour(centred(state.show, query, key) / limit);
    const width = (0.9 + 4 * weight) * Math.max(1, frame.width / 560);
    const { line, head } = arrow(
      frame.at[query],
      frame.at[key],
      frame.radius[query],
      frame.radius[key],
      6 + 2 * width,
    );
    draw(group, "path", {
      d: line,
      "stroke-width": width,
      "stroke-dasharray": between ? `${0.2 + width * 0.3} ${3 + 1.6 * width}` : "none",
      "stroke-linecap": between ? "round" : "butt",
    });
    draw(group, "path", { d: head });
  }

  /** Orange speaks for the pair, purple against it; never so pale that the line is lost on its ground. */
  const lineColour = (value) =>
    shade("diverging", 0.5 + 0.5 * Math.sign(value) * (0.45 + 0.2 * Math.abs(value)));

  function arrow(start, end, startRadius, endRadius, length) {
    const across = [start[1] - end[1], end[0] - start[0]];
    const bend = start.map((value, i) => (value + end[i]) / 2 + 0.12 * across[i]);
    const [from, tip] = [toward(start, bend, startRadius), toward(end, bend, endRadius + 2)];
    const base = toward(tip, bend, length);
    const side = [(tip[1] - base[1]) * 0.42, (base[0] - tip[0]) * 0.42];
    const head = polygon([
      tip,
      [base[0] + side[0], base[1] + side[1]],
      [base[0] - side[0], base[1] - side[1]],
    ]);
    return { line: `M${from.join(" ")}Q${bend.join(" ")} ${base.join(" ")}`, head };
  }

  /** The point `far` from `a` on the way to `b`; no further than most of the way. */
  function toward(a, b, far) {
    const distance = Math.hypot(b[0] - a[0], b[1] - a[1]) || 1;
    const share = Math.min(far / distance, 0.85);
    return [a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])];
  }

  function drawParticle(plane, frame, particle) {
    const { identity, subjet } = view.particles;
    const [x, y] = frame.at[particle];
    const colour = subjetColour(subjet[particle]);
    const d = shapeOf(identity[particle], frame.radius[particle]);
    const group = draw(plane, "g", {
      class: "particle",
      transform: `translate(${x} ${y})`,
      tabindex: 0,
      role: "button",
      "data-particle": particle,
      "aria-label": particleText(particle).join(", "),
      "aria-pressed": state.query === particle,
    });
    draw(group, "path", { class: "body", d });
    draw(group, "path", { class: "tint", d, fill: colour, stroke: colour });
    if (state.query === particle)
      draw(
        group,
        "text",
        { class: "number", x: frame.radius[particle] + 4, y: -frame.radius[particle] },
        `query ${particle}`,
      );
  }

  // ---------------------------------------------------------------- the heat map

  /** Sizes of the heat map in CSS pixels: labels to the left and on top, the colour scale below. */
  function grid({ clientWidth, clientHeight }) {
    const [left, top, below] = [38, 28, 32];
    const end = Math.min(clientWidth - left - 4, clientHeight - top - below);
    return { left, top, cell: end / view.n, end };
  }

  /** The map is kept on a sheet, so that pointing at a cell draws two bands only. */
  function drawMap() {
    const canvas = byId("map");
    sheet.width = canvas.width = Math.round(canvas.clientWidth * devicePixelRatio);
    sheet.height = canvas.height = Math.round(canvas.clientHeight * devicePixelRatio);
    const pen = sheet.getContext("2d");
    pen.scale(devicePixelRatio, devicePixelRatio);
    const frame = grid(canvas);
    const values = view.maps[state.show];
    const limit = values.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-6);
    drawCells(pen, frame, values, limit);
    drawLabels(pen, frame);
    drawScale(pen, frame, limit);
    markMap();
  }

  function markMap() {
    const canvas = byId("map");
    const pen = canvas.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(sheet, 0, 0);
    pen.scale(devicePixelRatio, devicePixelRatio);
    drawCross(pen, grid(canvas));
  }

  const cellColour = (value, limit) =>
    state.show === "weights"
      ? shade("sequential", Math.sqrt(value))
      : shade("diverging", 0.5 + (0.5 * value) / limit);

  function drawCells(pen, { left, top, cell }, values, limit) {
    // Edges on whole pixels: no seams.
    const edge = (first, place) => Math.round((first + place * cell) * devicePixelRatio) / devicePixelRatio;
    values.forEach((value, place) => {
      const [query, key] = [Math.floor(place / view.n), place % view.n];
      const [x, y] = [edge(left, key), edge(top, query)];
      pen.fillStyle = cellColour(value, limit);
      pen.fillRect(x, y, edge(left, key + 1) - x, edge(top, query + 1) - y);
    });
    if (cell < 4) return;
    pen.lineWidth = 1.5;
    view.maps.weights.forEach((weight, place) => {
      if (weight <= state.threshold) return;
      const [query, key] = [Math.floor(place / view.n), place % view.n];
      pen.strokeStyle = inkOn(cellColour(values[place], limit));
      pen.strokeRect(left + key * cell + 1.2, top + query * cell + 1.2, cell - 2.4, cell - 2.4);
    });
  }

  /** Number and shape of each particle along both sides; every so many where there is no room for all. */
  function drawLabels(pen, { left, top, cell }) {
    const every = Math.ceil(11 / cell);
    const r = within(cell * 0.28, 2, 4.5);
    pen.font = `${within(cell * 0.8, 9, 11)}px system-ui, sans-serif`;
    pen.textBaseline = "middle";
    for (let particle = 0; particle < view.n; particle++) {
      const middle = (particle + 0.5) * cell;
      const numbered = particle % every === 0;
      drawShape(pen, particle, left - 7, top + middle, r);
      drawShape(pen, particle, left + middle, top - 7, r);
      pen.fillStyle = inkOf("soft");
      pen.textAlign = "right";
      if (numbered) pen.fillText(particle, left - 14, top + middle);
      pen.textAlign = "center";
      if (particle % Math.ceil((view.n > 100 ? 22 : 15) / cell) === 0)
        pen.fillText(particle, left + middle, top - 20);
    }
  }

  function drawShape(pen, particle, x, y, r) {
    pen.save();
    pen.translate(x, y);
    pen.fillStyle = subjetColour(view.particles.subjet[particle]);
    pen.fill(new Path2D(shapeOf(view.particles.identity[particle], r)));
    pen.restore();
  }

  /** Row of the query and column of the key that are pointed at, and the row of the pinned query. */
  function drawCross(pen, { left, top, cell, end }) {
    const band = (row, column, colour) => {
      pen.strokeStyle = colour;
      pen.lineWidth = 2;
      if (row !== null) pen.strokeRect(left - 1, top + row * cell - 1, end + 2, cell + 2);
      if (column !== null) pen.strokeRect(left + column * cell - 1, top - 1, cell + 2, end + 2);
    };
    if (state.query !== null) band(state.query, null, page.colours.subjets[1]);
    const { query, key } = pointed;
    if (query !== null) band(query, key ?? query, state.show === "weights" ? "#fff" : "#1b1f24");
  }

  function drawScale(pen, { left, top, end }, limit) {
    const [y, width] = [top + end + 9, end * 0.5];
    for (let i = 0; i < width; i++) {
      pen.fillStyle = shade(state.show === "weights" ? "sequential" : "diverging", i / width);
      pen.fillRect(left + i, y, 1.5, 9);
    }
    pen.fillStyle = inkOf("soft");
    pen.font = "11px system-ui, sans-serif";
    pen.textAlign = "center";
    const ticks = state.show === "weights" ? [0, 0.05, 0.2, 0.5, 1] : [-limit, 0, limit];
    for (const tick of ticks) {
      const share = state.show === "weights" ? Math.sqrt(tick) : 0.5 + (0.5 * tick) / limit;
      pen.fillText(
        state.show === "weights" ? tick : tick && signed(tick, 1),
        left + within(share * width, 8, width - 4),
        y + 18,
      );
    }
    pen.textAlign = "left";
    pen.fillText(
      state.show === "weights" ? "weight (square-root scale)" : `${NAMES[state.show]}, before the softmax`,
      left + width + 12,
      y + 5,
    );
  }

  // ---------------------------------------------------------------- words

  const particlesText = (n) => (n === 1 ? "1 particle" : `${n} particles`);

  const jetText = (jet) => {
    const { n, pt } = page.jets[jet];
    return `${className(jet)} · ${pt === undefined ? particlesText(n) : `${pt.toFixed(0)} GeV`}`;
  };

  /** pT and masses, as far as they are known: a jet may have a mass and no soft-drop mass. */
  function momentumFacts({ pt, mass, sdmass }) {
    const facts = [];
    if (pt !== undefined) facts.push(`pT ${pt.toFixed(0)} GeV`);
    const groomed = sdmass === undefined ? "" : sdmass.toFixed(0);
    if (mass !== undefined) facts.push(`mass ${mass.toFixed(0)} GeV${groomed && ` (soft drop ${groomed})`}`);
    else if (groomed) facts.push(`soft-drop mass ${groomed} GeV`);
    return facts;
  }

  function writeFacts() {
    const { n, source, entry, predicted, probability, jet } = page.jets[state.jet];
    const facts = [`${className(state.jet)} jet`, particlesText(n), ...momentumFacts(page.jets[state.jet])];
    const sure = probability === undefined ? "" : ` (${(100 * probability).toFixed(0)} %)`;
    if (predicted !== undefined) facts.push(`taken for ${predicted}${sure}`);
    byId("facts").textContent = facts.join(" · ");
    const place = entry === undefined ? "" : `, entry ${entry}`;
    const origin = source === undefined ? "" : `, from ${source}${place}`;
    byId("origin").textContent =
      `Jet ${jet} of the sample${origin}. Layers, heads and particles are counted from 0.`;
    byId("map-caption").textContent = `${TITLES[state.show]}: rows are queries, columns keys`;
  }

  /** What is seen, in a sentence; also where nothing is. */
  function writeFinding() {
    const lines = linesOf(view, state.query);
    const above = state.threshold.toFixed(2);
    const where = `Layer ${state.layer}, head ${state.head}: `;
    byId("finding").textContent = where + (lines.length ? someLines(lines, above) : noLine(above));
  }

  function someLines(lines, above) {
    const between = lines.filter(
      ({ query, key }) => view.particles.subjet[query] !== view.particles.subjet[key],
    ).length;
    const many =
      new Set(view.particles.subjet).size > 1 ? `, ${between || "none"} of them between subjets` : "";
    const count = `${lines.length} ${lines.length === 1 ? "line" : "lines"}${many}.`;
    if (state.query !== null)
      return `query ${state.query} puts more than ${above} on ${lines.length === 1 ? "one other particle" : `each of ${lines.length} others`}: ${count}`;
    const queries = new Set(lines.map(({ query }) => query)).size;
    return `${queries} of ${view.n} queries ${queries === 1 ? "puts" : "put"} more than ${above} on another particle: ${count}`;
  }

  function noLine(above) {
    let best = null;
    view.maps.weights.forEach((weight, place) => {
      const [query, key] = [Math.floor(place / view.n), place % view.n];
      if (
        query !== key &&
        (state.query === null || query === state.query) &&
        (best === null || weight > best.weight)
      )
        best = { query, key, weight };
    });
    if (best === null) return "one particle, which can attend to itself only.";
    const who = state.query === null ? "in this head" : `of query ${state.query}`;
    return `no weight above ${above} on another particle ${who}; the largest is ${best.weight.toFixed(2)} (${best.query} → ${best.key}).`;
  }

  /** What a particle is and whom it attends to, line by line. */
  function particleText(particle) {
    const { identity, subjet, pt } = view.particles;
    const key = view.strongest[particle];
    return [
      `particle ${particle}`,
      identityOf(identity[particle])[0],
      `pT ${pt[particle].toFixed(1)} GeV`,
      `subjet ${subjet[particle] + 1}`,
      `strongest key ${key === particle ? "itself" : key}, weight ${at("weights", particle, key).toFixed(3)}`,
    ];
  }

  function particleRows(particle) {
    const { deta, dphi, pt, subjet } = view.particles;
    const key = view.strongest[particle];
    let received = 0;
    for (let query = 0; query < view.n; query++) received += at("weights", query, particle);
    return [
      ["pT", `${pt[particle].toFixed(1)} GeV`],
      ["subjet", subjet[particle] + 1],
      ["Δη, Δφ", `${signed(deta[particle], 3)}, ${signed(dphi[particle], 3)}`],
      [
        "strongest key",
        key === particle ? "itself" : `${key} (${identityOf(view.particles.identity[key])[0]})`,
      ],
      ["weight", at("weights", particle, key).toFixed(3)],
      ["QK, U there", `${signed(at("qk", particle, key))}, ${signed(at("u", particle, key))}`],
      ["receives", `${received.toFixed(2)} × an even share`],
    ];
  }

  function pairRows(query, key) {
    const { subjet, identity, deta, dphi } = view.particles;
    const kind = (particle) => `${particle} (${identityOf(identity[particle])[0]})`;
    const rows = ["qk", "u", "sum"].map((name) => [
      NAMES[name],
      `${signed(at(name, query, key))} (${signed(centred(name, query, key))} from row mean)`,
    ]);
    return [
      ["query", kind(query)],
      ["key", kind(key)],
      ["weight", at("weights", query, key).toFixed(3)],
      ...rows,
      [
        "subjets",
        subjet[query] === subjet[key]
          ? `both ${subjet[query] + 1}`
          : `${subjet[query] + 1} and ${subjet[key] + 1}`,
      ],
      ["ΔR", Math.hypot(deta[query] - deta[key], dphi[query] - dphi[key]).toFixed(3)],
    ];
  }

  /** Below the pictures: what is pointed at, or else the pinned query. */
  function writeDetails() {
    const { query, key } = pointed;
    const card = byId("details");
    card.replaceChildren();
    const shown = query ?? state.query;
    if (shown === null)
      return void add(
        card,
        "p",
        "Point at a particle or a cell to read about it; click it to see that query alone.",
        { className: "soft" },
      );
    const name = `${identityOf(view.particles.identity[shown])[0]}, particle ${shown}`;
    add(card, "h3", key !== null ? `${query} → ${key}` : query === null ? `Pinned query: ${name}` : name);
    const list = add(card, "dl");
    for (const [term, value] of key === null ? particleRows(shown) : pairRows(query, key)) {
      const row = add(list, "div");
      add(row, "dt", term);
      add(row, "dd", value);
    }
  }

  // ---------------------------------------------------------------- controls

  function fillControls() {
    const present = page.classes.filter((name) => page.jets.some((_, jet) => className(jet) === name));
    add(byId("class"), "option", "all", { value: "all" });
    for (const name of present) add(byId("class"), "option", name, { value: name });
    for (let layer = 0; layer < LAYERS; layer++) add(byId("layer"), "option", layer, { value: layer });
    for (let head = 0; head < HEADS; head++) add(byId("head"), "option", head, { value: head });
    fillHeads();
    byId("step").textContent = [...new Set(page.jets.map(({ step }) => step))]
      .map((step) => (step < 1 ? `1/${1 / step}` : step))
      .join(" or ");
    byId("difference").textContent = page.difference.toExponential(1);
  }

  /** A button for each layer (the last on top) and head. */
  function fillHeads() {
    const heads = byId("heads");
    heads.style.gridTemplateColumns = `1.2rem repeat(${HEADS}, minmax(0, 1fr))`;
    for (let layer = LAYERS - 1; layer >= 0; layer--) {
      add(heads, "span", layer, { className: "name" });
      for (let head = 0; head < HEADS; head++) {
        const button = add(heads, "button", "", { type: "button", onclick: () => change({ layer, head }) });
        Object.assign(button.dataset, { layer, head });
      }
    }
    add(heads, "span", "", { className: "name" });
    for (let head = 0; head < HEADS; head++) add(heads, "span", head, { className: "name" });
  }

  function writeHeads(data) {
    const found = shares(data, view.n);
    const most = Math.max(0.05, ...found);
    for (const button of byId("heads").querySelectorAll("button")) {
      const [layer, head] = [+button.dataset.layer, +button.dataset.head];
      const share = found[layer * HEADS + head];
      const colour = shade("sequential", share / most);
      Object.assign(button.style, { backgroundColor: colour, color: inkOn(colour) });
      const chosen = layer === state.layer && head === state.head;
      button.textContent = (100 * share).toFixed(0);
      button.tabIndex = chosen ? 0 : -1;
      button.setAttribute("aria-pressed", chosen);
      button.setAttribute(
        "aria-label",
        `layer ${layer}, head ${head}: ${(100 * share).toFixed(0)} % of queries`,
      );
    }
  }

  function writeControls() {
    const jets = jetsOfClass();
    byId("jet").replaceChildren();
    for (const jet of jets)
      add(byId("jet"), "option", `${page.jets[jet].jet} · ${jetText(jet)}`, { value: jet });
    for (const name of ["jet", "class", "layer", "head", "threshold"]) byId(name).value = state[name];
    byId("above").textContent = state.threshold.toFixed(2);
    for (const button of document.querySelectorAll("[data-show]"))
      button.setAttribute("aria-pressed", button.dataset.show === state.show);
  }

  /** What shapes, colours and lines mean, as far as this jet has them. */
  function writeLegend() {
    byId("legend").replaceChildren();
    const { identity, subjet } = view.particles;
    const ordered = (values) => [...new Set(values)].sort((a, b) => a - b);
    for (const one of ordered(identity)) {
      legendItem(identityOf(one)[0], { d: shapeOf(one, 5), "stroke-width": 1.4 });
    }
    for (const one of ordered(subjet)) {
      const colour = subjetColour(one);
      legendItem(`subjet ${one + 1}`, {
        d: SHAPES.o(5.5),
        fill: colour,
        "fill-opacity": 0.45,
        stroke: colour,
      });
    }
    writeLineLegend(ordered(subjet).length > 1);
    legendItem("area: pT", {
      d: "M-4 2a3 3 0 1 1 -6 0a3 3 0 1 1 6 0M11 0a6 6 0 1 1 -12 0a6 6 0 1 1 12 0",
      "stroke-width": 1,
    });
  }

  function writeLineLegend(several) {
    const d = "M-11 0H11";
    legendItem("within a subjet", { d });
    if (several) legendItem("between two", { d, "stroke-dasharray": "0.8 5", "stroke-linecap": "round" });
    legendItem("on itself", { d: SHAPES.o(6) });
    if (state.show === "weights") return;
    legendItem(`${NAMES[state.show]}: for`, { d, stroke: lineColour(1) });
    legendItem("against", { d, stroke: lineColour(-1) });
  }

  function legendItem(text, attributes) {
    const line = add(byId("legend"), "div");
    const picture = draw(line, "svg", { viewBox: "-11 -8 22 16", "aria-hidden": "true" });
    draw(picture, "path", { fill: "none", stroke: "currentColor", "stroke-width": 2, ...attributes });
    add(line, "span", text);
  }

  // ---------------------------------------------------------------- state

  /** Change the state, keep it possible, and draw. */
  async function change(changes) {
    const before = state.jet;
    Object.assign(state, changes);
    if (!jetsOfClass().includes(state.jet)) state.jet = jetsOfClass()[0];
    if (state.jet !== before && !("query" in changes)) state.query = null;
    if (state.jet !== before) [zoom, centre] = [1, null];
    if (state.show !== "weights") lastPart = state.show;
    const wanted = state.jet;
    const data = await load(wanted);
    if (wanted !== state.jet) return; // another jet was chosen meanwhile
    state.head ??= sharpest(data, page.jets[wanted].n);
    show(data);
  }

  /** The head of the chosen layer with the largest weights on another particle: something to see at first. */
  function sharpest(data, n) {
    const sharpness = new Array(HEADS).fill(0);
    for (let row = 0; row < HEADS * n; row++) {
      const weights = data.weights.subarray(
        (state.layer * HEADS * n + row) * n,
        (state.layer * HEADS * n + row + 1) * n,
      );
      sharpness[Math.floor(row / n)] += weights.reduce(
        (most, weight, key) => (key === row % n ? most : Math.max(most, weight)),
        0,
      );
    }
    return largestOf(sharpness);
  }

  function show(data) {
    view = viewOf(state.jet, data, state.layer, state.head);
    if (state.query !== null && state.query >= view.n) state.query = null;
    Object.assign(pointed, { query: null, key: null });
    writeControls();
    writeHeads(data);
    writeFacts();
    writeFinding();
    writeLegend();
    writeDetails();
    writeHash();
    redraw();
  }

  function redraw() {
    if (view === null) return;
    const focused = document.activeElement?.dataset?.particle;
    drawPlane();
    drawMap();
    if (focused !== undefined) particleElement(focused)?.focus({ preventScroll: true });
  }

  const particleElement = (particle) => byId("plane").querySelector(`[data-particle="${particle}"]`);

  function writeHash() {
    const { jet, class: name, layer, head, threshold, show: shown, query } = state;
    const values = {
      jet: page.jets[jet].jet,
      class: name,
      layer,
      head,
      threshold: threshold.toFixed(2),
      show: shown,
    };
    if (query !== null) values.query = query;
    history.replaceState(null, "", `#${new URLSearchParams(values)}`);
  }

  /** What the address asks for; what it asks wrongly is left as it is. */
  function readHash() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const number = (name, most) => {
      const value = asked.has(name) ? Number(asked.get(name)) : NaN;
      return Number.isInteger(value) && value >= 0 && value <= most ? value : undefined;
    };
    const jet = page.jets.findIndex((one) => asked.get("jet") === String(one.jet));
    const threshold = asked.has("threshold") ? Number(asked.get("threshold")) : NaN;
    const found = {
      layer: number("layer", LAYERS - 1),
      head: number("head", HEADS - 1),
      query: number("query", Infinity) ?? null,
    };
    if (jet >= 0) found.jet = jet;
    if (threshold >= 0.01 && threshold <= 0.99) found.threshold = threshold;
    if (Object.hasOwn(NAMES, asked.get("show") ?? "")) found.show = asked.get("show");
    if (asked.get("class") === "all" || page.jets.some((_, one) => className(one) === asked.get("class")))
      found.class = asked.get("class");
    return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined));
  }

  // ---------------------------------------------------------------- pointer and keyboard

  /** Mark a particle (key null) or a pair, in both pictures. */
  function point(query, key) {
    if (pointed.query === query && pointed.key === key) return;
    Object.assign(pointed, { query, key });
    drawPointed();
    markMap();
    writeDetails();
  }

  function drawPointed() {
    const plane = byId("plane");
    const { query, key } = pointed;
    plane.classList.toggle("focus", query !== null);
    plane.querySelectorAll(".extra").forEach((line) => line.remove());
    for (const particle of plane.querySelectorAll(".particle"))
      particle.classList.toggle("on", [query, key].includes(+particle.dataset.particle));
    for (const line of plane.querySelectorAll("[data-query]")) {
      const [from, to] = [+line.dataset.query, +line.dataset.key];
      line.classList.toggle(
        "on",
        key === null ? from === query || to === query : from === query && to === key,
      );
    }
    if (query === null) return;
    nameParticle(plane, query, -4);
    if (key !== null && key !== query) nameParticle(plane, key, 12);
    drawMissing(plane, query, key ?? view.strongest[query]);
  }

  /** The arrow of what is pointed at, also where its weight is below the threshold. */
  function drawMissing(plane, query, key) {
    if (query === key || plane.querySelector(`.pair[data-query="${query}"][data-key="${key}"]`)) return;
    drawLine(plane, layout(plane), { query, key, weight: at("weights", query, key) }, 0, "extra on");
  }

  /** Number and pT beside a particle, `below` its middle. */
  function nameParticle(plane, particle, below) {
    const frame = layout(plane);
    const [x, y] = frame.at[particle];
    const left = x > frame.width - 90;
    const attributes = {
      x: x + (left ? -1 : 1) * (frame.radius[particle] + 5),
      y: y + below,
      "text-anchor": left ? "end" : "start",
    };
    draw(
      plane,
      "text",
      { class: "number extra", ...attributes },
      `${particle}: ${view.particles.pt[particle].toFixed(1)} GeV`,
    );
  }

  const pin = (query) => change({ query: state.query === query ? null : query });

  function listenToPlane() {
    const plane = byId("plane");
    const particleAt = (event) => event.target.closest("[data-particle]")?.dataset.particle;
    plane.addEventListener("pointermove", (event) => {
      const particle = particleAt(event);
      if (particle === undefined) point(null, null);
      else point(+particle, null);
    });
    plane.addEventListener("pointerleave", () => point(null, null));
    plane.addEventListener("click", (event) => particleAt(event) !== undefined && pin(+particleAt(event)));
    plane.addEventListener("focusin", (event) => {
      if (byPointer || particleAt(event) === undefined) return;
      point(+particleAt(event), null);
    });
    plane.addEventListener("focusout", () => !byPointer && point(null, null));
    plane.addEventListener("wheel", zoomAtPointer, { passive: false });
    plane.addEventListener("dblclick", (event) => particleAt(event) === undefined && setZoom(1, null));
  }

  function zoomAtPointer(event) {
    event.preventDefault();
    const { left, top, width, height } = byId("plane").getBoundingClientRect();
    const { scale, middle } = layout(byId("plane"));
    const off = [(event.clientX - left - width / 2) / scale, -(event.clientY - top - height / 2) / scale];
    const next = within(zoom * Math.exp(-event.deltaY / 400), 1, 16);
    // What is under the pointer stays there.
    setZoom(next, next === 1 ? null : middle.map((value, i) => value + off[i] * (1 - zoom / next)));
  }

  function setZoom(next, middle) {
    [zoom, centre] = [next, middle];
    drawPlane();
  }

  function listenToMap() {
    const canvas = byId("map");
    const cellAt = (event) => {
      const { left, top, cell } = grid(canvas);
      const [key, query] = [
        Math.floor((event.offsetX - left) / cell),
        Math.floor((event.offsetY - top) / cell),
      ];
      return {
        query,
        key: key < 0 ? null : key,
        inside: query >= 0 && query < view.n && key < view.n && event.offsetX >= 0,
      };
    };
    canvas.addEventListener("pointermove", (event) => {
      const { query, key, inside } = cellAt(event);
      if (inside) point(query, key);
      else point(null, null);
    });
    canvas.addEventListener("pointerleave", () => point(null, null));
    canvas.addEventListener("click", (event) => cellAt(event).inside && pin(cellAt(event).query));
  }

  function listenToControls() {
    const blur = (event) => byPointer && event.target.blur();
    for (const name of ["jet", "layer", "head", "threshold"]) {
      byId(name).addEventListener("input", (event) => change({ [name]: Number(event.target.value) }));
      byId(name).addEventListener("change", blur);
    }
    byId("class").addEventListener("input", (event) => change({ class: event.target.value }));
    byId("class").addEventListener("change", blur);
    for (const button of document.querySelectorAll("[data-show]"))
      button.addEventListener("click", () => change({ show: button.dataset.show }));
    byId("ask").addEventListener("click", help);
    // After a click the keys should go to the page, not to what was clicked.
    document.addEventListener("click", (event) => byPointer && event.target.closest("button")?.blur());
    document.addEventListener("pointerdown", () => (byPointer = true), true);
    document.addEventListener("keydown", () => (byPointer = false), true);
  }

  function help() {
    const dialog = byId("help");
    if (dialog.open) dialog.close();
    else dialog.showModal();
  }

  const step = (name, by, count) => change({ [name]: (state[name] + by + count) % count });

  function stepJet(by) {
    const jets = jetsOfClass();
    change({ jet: jets[(jets.indexOf(state.jet) + by + jets.length) % jets.length] });
  }

  function stepThreshold(by) {
    change({ threshold: within(Math.round(20 * (state.threshold + by)) / 20, 0.05, 0.95) });
  }

  const KEYS = {
    ArrowLeft: () => stepJet(-1),
    ArrowRight: () => stepJet(1),
    ArrowUp: () => step("layer", 1, LAYERS),
    ArrowDown: () => step("layer", -1, LAYERS),
    "[": () => step("head", -1, HEADS),
    "]": () => step("head", 1, HEADS),
    "-": () => stepThreshold(-0.05),
    "+": () => stepThreshold(0.05),
    "=": () => stepThreshold(0.05),
    " ": () => change({ show: state.show === "weights" ? lastPart : "weights" }),
    z: () => (zoom >= 4 ? setZoom(1, null) : setZoom(2 * zoom, [0, 0])),
    Escape: () => change({ query: null }),
    "?": help,
  };

  function listenToKeys() {
    document.addEventListener("keydown", (event) => {
      const { key, target } = event;
      const particle = target.dataset?.particle;
      if (key === "Enter" && particle !== undefined) return pin(+particle);
      const own = target.matches?.("select, input, button") && (key.startsWith("Arrow") || key === " ");
      if (own || event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(KEYS, key)) return;
      if (byId("help").open && key !== "?") return;
      event.preventDefault();
      KEYS[key]();
    });
  }

  // ---------------------------------------------------------------- start

  async function open() {
    fillControls();
    listenToControls();
    listenToPlane();
    listenToMap();
    listenToKeys();
    await change(readHash());
    document.documentElement.dataset.opened = performance.now().toFixed(0);
    new ResizeObserver(redraw).observe(byId("views"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    addEventListener("hashchange", () => change({ query: null, ...readHash() }));
  }

  if ("DecompressionStream" in window) open();
  else
    byId("finding").textContent = "This browser is too old for the explorer: it needs one of 2023 or later.";
})();
