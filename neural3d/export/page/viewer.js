// Draws the Gaussians of this page with WebGL 2: sorted by depth, blended from back to front, in display sRGB.
// The projection is that of neural3d's own rasterizer (cuda_ext/math/projection.h); the pictures are those of SOG.
"use strict";

const VERTEX = `#version 300 es
precision highp float; precision highp int; precision highp sampler2D;
layout(location = 0) in vec2 corner;
layout(location = 1) in uint id;
uniform sampler2D meansLow, meansHigh, scales, quats, colors, labels, palette, books;
uniform vec3 mins, maxs, eye;
uniform mat3 turn;                    // camera from world: x right, y down, z forward
uniform vec2 focal, size;
uniform int degree;
uniform bool antialiased;
out vec4 color;
out vec2 offset;

ivec2 at(sampler2D picture, uint index) {
  uint width = uint(textureSize(picture, 0).x);
  return ivec2(index % width, index / width);
}
vec4 bytes(sampler2D picture) { return floor(texelFetch(picture, at(picture, id), 0) * 255.0 + 0.5); }
vec3 booked(vec3 entries, int channel) {
  return vec3(texelFetch(books, ivec2(entries.x, 0), 0)[channel], texelFetch(books, ivec2(entries.y, 0), 0)[channel],
              texelFetch(books, ivec2(entries.z, 0), 0)[channel]);
}
vec3 mean() {
  vec3 l = mix(mins, maxs, (bytes(meansLow).rgb + 256.0 * bytes(meansHigh).rgb) / 65535.0);
  return sign(l) * (exp(abs(l)) - 1.0);
}
mat3 rotation() {
  vec4 packed = bytes(quats);
  vec3 p = (packed.rgb / 255.0 - 0.5) * sqrt(2.0);
  float rest = sqrt(max(0.0, 1.0 - dot(p, p)));
  int left = int(packed.a) - 252;
  vec4 q = left == 0 ? vec4(rest, p) : left == 1 ? vec4(p.x, rest, p.yz) : left == 2 ? vec4(p.xy, rest, p.z) : vec4(p, rest);
  float w = q.x, x = q.y, y = q.z, z = q.w;
  return mat3(1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z), 2.0 * (x * z - w * y),
              2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z + w * x),
              2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y));
}
vec3 harmonic(uint label, int k) {
  int count = degree == 1 ? 3 : degree == 2 ? 8 : 15;
  return booked(floor(texelFetch(palette, ivec2(int(label % 64u) * count + k, label / 64u), 0).rgb * 255.0 + 0.5), 2);
}
vec3 shaded(vec3 dc, vec3 d) {
  vec3 sum = 0.5 + 0.28209479177387814 * dc;
  if (degree > 0) {
    vec4 packed = bytes(labels);
    uint n = uint(packed.r + 256.0 * packed.g);
    float x = d.x, y = d.y, z = d.z, xx = x * x, yy = y * y, zz = z * z;
    sum += 0.4886025119029199 * (-y * harmonic(n, 0) + z * harmonic(n, 1) - x * harmonic(n, 2));
    if (degree > 1) {
      sum += 1.0925484305920792 * (x * y * harmonic(n, 3) - y * z * harmonic(n, 4) - x * z * harmonic(n, 6));
      sum += 0.31539156525252005 * (2.0 * zz - xx - yy) * harmonic(n, 5) + 0.5462742152960396 * (xx - yy) * harmonic(n, 7);
    }
    if (degree > 2) {
      sum += -0.5900435899266435 * (y * (3.0 * xx - yy) * harmonic(n, 8) + x * (xx - 3.0 * yy) * harmonic(n, 14));
      sum += 2.890611442640554 * x * y * z * harmonic(n, 9) + 1.445305721320277 * z * (xx - yy) * harmonic(n, 13);
      sum += -0.4570457994644658 * (4.0 * zz - xx - yy) * (y * harmonic(n, 10) + x * harmonic(n, 12));
      sum += 0.3731763325901154 * z * (2.0 * zz - 3.0 * xx - 3.0 * yy) * harmonic(n, 11);
    }
  }
  return max(sum, 0.0);
}
void main() {
  gl_Position = vec4(0.0, 0.0, 2.0, 1.0);           // outside: nothing is drawn
  vec3 world = mean(), seen = turn * (world - eye);
  if (seen.z < 0.01) return;
  vec4 packed = bytes(colors);
  mat3 m = rotation();
  vec3 s = exp(booked(bytes(scales).rgb, 0));
  vec2 limit = 0.65 * size / focal, ratio = clamp(seen.xy / seen.z, -limit, limit);
  vec3 row0 = focal.x / seen.z * vec3(1.0, 0.0, -ratio.x) * turn, row1 = focal.y / seen.z * vec3(0.0, 1.0, -ratio.y) * turn;
  vec3 a = (row0 * m) * s, b = (row1 * m) * s;
  float sharp0 = dot(a, a), sharp1 = dot(b, b), c01 = dot(a, b), c00 = sharp0 + 0.3, c11 = sharp1 + 0.3;
  vec3 normal = cross(a, b);
  float sharp = dot(normal, normal), det = sharp + 0.3 * (sharp0 + sharp1 + 0.3), alpha = packed.a / 255.0;
  if (antialiased) alpha *= sqrt(max(sharp / det, 1e-12));
  if (alpha <= 1.0 / 255.0) return;
  float middle = 0.5 * (c00 + c11), apart = sqrt(max(middle * middle - det, 0.0));
  vec2 axis = abs(c01) > 1e-6 * middle ? normalize(vec2(c01, middle + apart - c00)) : c00 >= c11 ? vec2(1, 0) : vec2(0, 1);
  float reach = sqrt(2.0 * log(255.0 * alpha));
  offset = corner * reach;
  vec2 pixel = seen.xy / seen.z * focal + sqrt(middle + apart) * offset.x * axis
             + sqrt(max(middle - apart, 0.0)) * offset.y * vec2(-axis.y, axis.x);
  gl_Position = vec4(pixel / (0.5 * size) * vec2(1.0, -1.0), 0.0, 1.0);
  color = vec4(shaded(booked(packed.rgb, 1), normalize(world - eye)), alpha);
}`;

const FRAGMENT = `#version 300 es
precision highp float;
in vec4 color;
in vec2 offset;
out vec4 blended;
void main() {
  float alpha = min(0.99, color.a * exp(-0.5 * dot(offset, offset)));
  if (alpha < 1.0 / 255.0) discard;
  blended = vec4(color.rgb * alpha, alpha);
}`;

const note = document.getElementById("note");
const canvas = document.querySelector("canvas");
const scene = JSON.parse(document.getElementById("scene").textContent);
const gl = canvas.getContext("webgl2", { antialias: false, alpha: false, powerPreference: "high-performance" });

function fail(text) {
  note.hidden = false;
  note.textContent = text;
  document.documentElement.dataset.state = "failed";
}

function program() {
  const made = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
  }
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS)) {
    const logs = gl.getAttachedShaders(made).map((shader) => gl.getShaderInfoLog(shader));
    throw new Error([gl.getProgramInfoLog(made), ...logs].join(" "));
  }
  return made;
}

function texture(fill) {
  const made = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, made);
  for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, name, gl.NEAREST);
  fill();
  return made;
}

// The bytes as they were written: no colour management, no multiplication by alpha.
async function picture(name) {
  const text = atob(scene.files[name]);
  const data = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  const options = { premultiplyAlpha: "none", colorSpaceConversion: "none" };
  const image = await createImageBitmap(new Blob([data], { type: "image/webp" }), options);
  gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, false);
  gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
  const made = texture(() => gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, image));
  delete scene.files[name];
  return { texture: made, width: image.width, height: image.height };
}

function pixelsOf(made) {
  const frame = gl.createFramebuffer(), pixels = new Uint8Array(4 * made.width * made.height);
  gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, made.texture, 0);
  gl.readPixels(0, 0, made.width, made.height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
  gl.bindFramebuffer(gl.FRAMEBUFFER, null);
  gl.deleteFramebuffer(frame);
  return pixels;
}

function positions(low, high) {
  const l = pixelsOf(low), h = pixelsOf(high), { mins, maxs } = scene.meta.means;
  const found = new Float32Array(3 * scene.meta.count);
  for (let i = 0; i < scene.meta.count; ++i)
    for (let k = 0; k < 3; ++k) {
      const value = mins[k] + (maxs[k] - mins[k]) * (l[4 * i + k] + 256 * h[4 * i + k]) / 65535;
      found[3 * i + k] = Math.sign(value) * Math.expm1(Math.abs(value));
    }
  return found;
}

// Farthest first, by counting: depths in 65536 steps between the nearest and the farthest.
function sorter(means) {
  const count = means.length / 3, keys = new Uint16Array(count), order = new Uint32Array(count), starts = new Uint32Array(65537);
  const depths = new Float32Array(count);
  return (forward) => {
    let near = Infinity, far = -Infinity;
    for (let i = 0; i < count; ++i) {
      const depth = means[3 * i] * forward[0] + means[3 * i + 1] * forward[1] + means[3 * i + 2] * forward[2];
      depths[i] = depth;
      near = Math.min(near, depth);
      far = Math.max(far, depth);
    }
    const steps = far > near ? 65535 / (far - near) : 0;
    starts.fill(0);
    for (let i = 0; i < count; ++i) {
      keys[i] = (far - depths[i]) * steps;
      ++starts[keys[i] + 1];
    }
    for (let i = 1; i <= 65536; ++i) starts[i] += starts[i - 1];
    for (let i = 0; i < count; ++i) order[starts[keys[i]]++] = i;
    return order;
  };
}

const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const sum = (a, b, scale = 1) => a.map((value, k) => value + scale * b[k]);
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const unit = (a) => a.map((value) => value / Math.hypot(...a));

// Turns about a point, with the scene's up kept up.
class Orbit {
  constructor({ eye, target, up }) {
    this.up = unit(up);
    const least = this.up.map(Math.abs).indexOf(Math.min(...this.up.map(Math.abs)));
    this.first = unit(cross(this.up, [0, 1, 2].map((k) => Number(k === least))));
    this.second = cross(this.up, this.first);
    const away = sum(eye, target, -1);
    this.start = { target, distance: Math.hypot(...away), azimuth: Math.atan2(dot(away, this.second), dot(away, this.first)),
                   elevation: Math.asin(Math.max(-1, Math.min(1, dot(unit(away), this.up)))) };
    this.reset();
  }
  reset() { Object.assign(this, structuredClone(this.start)); }
  frame() {
    const across = sum(this.first.map((v) => v * Math.cos(this.azimuth)), this.second, Math.sin(this.azimuth));
    const away = sum(across.map((v) => v * Math.cos(this.elevation)), this.up, Math.sin(this.elevation));
    const forward = away.map((v) => -v), right = unit(cross(forward, this.up));
    return { eye: sum(this.target, away, this.distance), right, down: cross(forward, right), forward };
  }
  turn(right, down) {
    this.azimuth -= right;
    this.elevation = Math.max(-1.55, Math.min(1.55, this.elevation + down));
  }
  move(right, down) {
    const seen = this.frame();
    this.target = sum(sum(this.target, seen.right, -right * this.distance), seen.down, -down * this.distance);
  }
  zoom(factor) { this.distance = Math.max(1e-4 * this.start.distance, Math.min(100 * this.start.distance, this.distance * factor)); }
}

function listen(orbit, redraw) {
  const held = new Map();
  const spread = () => { const [a, b] = [...held.values()]; return Math.hypot(a.x - b.x, a.y - b.y); };
  canvas.addEventListener("pointerdown", (e) => { canvas.setPointerCapture(e.pointerId); held.set(e.pointerId, { x: e.clientX, y: e.clientY }); canvas.classList.add("held"); });
  for (const name of ["pointerup", "pointercancel"])
    canvas.addEventListener(name, (e) => { held.delete(e.pointerId); canvas.classList.toggle("held", held.size > 0); });
  canvas.addEventListener("pointermove", (e) => {
    if (!held.has(e.pointerId)) return;
    const last = held.get(e.pointerId), before = held.size === 2 ? spread() : 0, high = canvas.clientHeight;
    const right = (e.clientX - last.x) / high, down = (e.clientY - last.y) / high;
    held.set(e.pointerId, { x: e.clientX, y: e.clientY });
    if (held.size === 2) { orbit.zoom(before / Math.max(spread(), 1)); orbit.move(right / 2, down / 2); }
    else if (e.shiftKey || e.buttons & 6) orbit.move(right, down);
    else orbit.turn(3 * right, 3 * down);
    redraw();
  });
  canvas.addEventListener("contextmenu", (e) => e.preventDefault());
  canvas.addEventListener("wheel", (e) => { e.preventDefault(); orbit.zoom(Math.exp(Math.max(-0.5, Math.min(0.5, e.deltaY / 600)))); redraw(); }, { passive: false });
  const buttons = {
    reset: () => orbit.reset(),
    ground: () => document.documentElement.style.setProperty("--ground", (light = !light) ? "#fff" : "#000"),
    more: (e) => document.getElementById("more").setAttribute("aria-expanded", String(!(help.hidden = !help.hidden))),
  };
  const help = document.getElementById("help");
  for (const [id, act] of Object.entries(buttons)) document.getElementById(id).addEventListener("click", () => { act(); redraw(); });
  const keys = {
    r: buttons.reset, b: buttons.ground, h: buttons.more, "+": () => orbit.zoom(0.9), "-": () => orbit.zoom(1 / 0.9),
    ArrowLeft: () => orbit.turn(-0.1, 0), ArrowRight: () => orbit.turn(0.1, 0), ArrowUp: () => orbit.turn(0, -0.1), ArrowDown: () => orbit.turn(0, 0.1),
  };
  addEventListener("keydown", (e) => { if (e.ctrlKey || e.metaKey || e.altKey) return; const act = keys[e.key] ?? keys[e.key.toLowerCase()]; if (act) { e.preventDefault(); act(); redraw(); } });
  addEventListener("resize", redraw);
}

let light = scene.view.light;

async function main() {
  if (!gl) return fail("This browser has no WebGL 2, with which the scene is drawn. Allow hardware acceleration, or take another browser.");
  canvas.addEventListener("webglcontextlost", () => fail("The browser has taken the graphics card away. Load the page again."));
  const meta = scene.meta, drawing = program(), degree = meta.shN ? meta.shN.bands : 0;
  const names = { meansLow: meta.means.files[0], meansHigh: meta.means.files[1], scales: meta.scales.files[0], quats: meta.quats.files[0], colors: meta.sh0.files[0] };
  if (degree) Object.assign(names, { palette: meta.shN.files[0], labels: meta.shN.files[1] });
  const pictures = {};
  for (const [uniform, name] of Object.entries(names)) pictures[uniform] = await picture(name);
  const books = new Float32Array(4 * 256);
  [meta.scales.codebook, meta.sh0.codebook, meta.shN?.codebook ?? []].forEach((book, k) => book.forEach((value, i) => { books[4 * i + k] = value; }));
  pictures.books = { texture: texture(() => gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32F, 256, 1, 0, gl.RGBA, gl.FLOAT, books)) };
  const sort = sorter(positions(pictures.meansLow, pictures.meansHigh));

  gl.useProgram(drawing);
  const place = (name) => gl.getUniformLocation(drawing, name);
  Object.entries(pictures).forEach(([uniform, made], unitNumber) => {
    gl.activeTexture(gl.TEXTURE0 + unitNumber);
    gl.bindTexture(gl.TEXTURE_2D, made.texture);
    gl.uniform1i(place(uniform), unitNumber);
  });
  gl.uniform3fv(place("mins"), meta.means.mins);
  gl.uniform3fv(place("maxs"), meta.means.maxs);
  gl.uniform1i(place("degree"), degree);
  gl.uniform1i(place("antialiased"), Number(meta.model === "antialiased"));
  gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]), gl.STATIC_DRAW);
  gl.enableVertexAttribArray(0);
  gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
  gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
  gl.enableVertexAttribArray(1);
  gl.vertexAttribIPointer(1, 1, gl.UNSIGNED_INT, 0, 0);
  gl.vertexAttribDivisor(1, 1);
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);

  const orbit = new Orbit(scene.view), { half_height: halfHeight, aspect } = scene.view;
  let sortedFor = null;
  function draw() {
    const dense = Math.min(devicePixelRatio || 1, 2), width = Math.round(canvas.clientWidth * dense), height = Math.round(canvas.clientHeight * dense);
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const seen = orbit.frame(), focal = 0.5 * Math.min(height, width / aspect) / halfHeight;
    if (!sortedFor || dot(sortedFor, seen.forward) < 0.99999) {
      gl.bufferData(gl.ARRAY_BUFFER, sort(seen.forward), gl.DYNAMIC_DRAW);
      sortedFor = seen.forward;
    }
    gl.viewport(0, 0, width, height);
    gl.clearColor(Number(light), Number(light), Number(light), 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.uniform3fv(place("eye"), seen.eye);
    gl.uniformMatrix3fv(place("turn"), true, [...seen.right, ...seen.down, ...seen.forward]);
    gl.uniform2f(place("focal"), focal, focal);
    gl.uniform2f(place("size"), width, height);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, meta.count);
    document.documentElement.dataset.frames = String(Number(document.documentElement.dataset.frames ?? 0) + 1);
  }
  let waiting = false;
  const redraw = () => { if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; draw(); }); } };
  listen(orbit, redraw);
  document.getElementById("count").textContent = `${meta.count.toLocaleString("en")} splats`;
  draw();
  note.hidden = true;
  document.documentElement.dataset.state = "ready";
}

main().catch((error) => fail(`The scene cannot be shown: ${error.message}`));
