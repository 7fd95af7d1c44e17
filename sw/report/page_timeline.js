'use strict';
// The timeline: a canvas of lanes with one bar per command, the bus below, the whole run as a strip.
(() => {
  const { cycles, engines, stages, traffic, lanes, pauses, byId, number, place } = page;
  if (!cycles) return;
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  // Words on these colours are dark, on the others light.
  const bright = new Set(['load', 'V1']);
  const plot = byId('plot'), whole = byId('whole'), tip = byId('tip');
  const LEFT = 78, RIGHT = 10, LANE = 29, GAP = 4, TOP = 22, BUS = 84, NARROW = 6;
  const least = Math.min(64, cycles);
  let view = [0, cycles], chosen = null, colours = {}, width = 0, queued = false;

  const { bucket, read, written, limit } = traffic;
  const sums = [read, written].map((bytes) => {
    const total = new Float64Array(bytes.length + 1);
    bytes.forEach((value, i) => { total[i + 1] = total[i] + value; });
    return total;
  });
  // Bytes up to a cycle; inside a bucket they count as evenly spread.
  const upTo = (total, cycle) => {
    const at = Math.min(Math.max(cycle, 0), cycles), i = Math.min(Math.floor(at / bucket), total.length - 2);
    const length = Math.min(bucket, cycles - i * bucket);
    return total[i] + (total[i + 1] - total[i]) * (at - i * bucket) / length;
  };

  const x = (cycle) => LEFT + (cycle - view[0]) / (view[1] - view[0]) * (width - LEFT - RIGHT);
  const cycleAt = (px) => view[0] + (px - LEFT) / (width - LEFT - RIGHT) * (view[1] - view[0]);
  const laneTop = (lane) => TOP + lane * LANE;

  function fit(canvas) {
    const ratio = window.devicePixelRatio || 1, box = canvas.getBoundingClientRect();
    canvas.width = Math.round(box.width * ratio);
    canvas.height = Math.round(box.height * ratio);
    const pen = canvas.getContext('2d');
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, box.width, box.height);
    pen.font = '12px system-ui, "Segoe UI", Arial, sans-serif';
    pen.textBaseline = 'middle';
    return [pen, box.width, box.height];
  }

  function ticks(from, to) {
    const rough = (to - from) / 9, power = 10 ** Math.floor(Math.log10(rough));
    const step = Math.max(1, [1, 2, 5, 10].find((factor) => factor * power >= rough) * power);
    const found = [];
    for (let tick = Math.ceil(from / step) * step; tick <= to; tick += step) found.push(tick);
    return found;
  }

  function draw() {
    queued = false;
    colours = Object.fromEntries(['ink', 'soft', 'line', 'lane', 'paper', 'mark', 'read', 'written', ...stages]
      .map((name) => [name, style(name)]));
    const [pen, w, h] = fit(plot);
    width = w;
    axis(pen, h);
    lanes.forEach((lane, i) => drawLane(pen, lane, i));
    drawBus(pen, laneTop(lanes.length) + 8);
    drawWhole();
    byId('window').textContent = `cycles ${number(Math.round(view[0]))} to ${number(Math.round(view[1]))}`
      + ` (${number(Math.round(view[1] - view[0]))} of ${number(cycles)})`;
    plot.dataset.first = view[0];
    plot.dataset.last = view[1];
  }

  function axis(pen, h) {
    pen.fillStyle = colours.soft;
    pen.strokeStyle = colours.line;
    pen.fillText('cycle', 4, 9);
    for (const tick of ticks(...view)) {
      const at = Math.round(x(tick)) + 0.5, label = number(tick), half = pen.measureText(label).width / 2;
      pen.beginPath(); pen.moveTo(at, 16); pen.lineTo(at, h); pen.stroke();
      pen.fillText(label, Math.min(Math.max(at - half, LEFT), width - 2 * half), 9);
    }
  }

  function drawLane(pen, lane, i) {
    const top = laneTop(i), height = LANE - GAP;
    pen.fillStyle = colours.lane;
    pen.fillRect(LEFT, top, width - LEFT - RIGHT, height);
    pen.fillStyle = colours.ink;
    pen.fillText(engines[i], 4, top + height / 2);
    pen.save();
    pen.beginPath(); pen.rect(LEFT, top - 2, width - LEFT - RIGHT, height + 4); pen.clip();
    const inView = lane.filter((span) => span.end >= view[0] && span.start <= view[1]);
    fillNarrow(pen, inView, x, top, height);
    for (const span of inView) {
      const from = x(span.begin), length = x(span.end) - from, early = x(span.start);
      pen.fillStyle = colours[span.stage];
      // A hairline between neighbours, once bars are wide enough to bear it.
      if (length > NARROW) pen.fillRect(from, top, length > 30 ? length - 1 : length, height);
      if (length > 24) label(pen, span, Math.max(from, LEFT), Math.min(from + length, width - RIGHT), top + height / 2);
      if (from - early > 1) {
        pen.fillStyle = colours.ink;
        pen.fillRect(early, top + height - 2, from - early, 2);
      }
      if (span === chosen) {
        pen.strokeStyle = colours.mark;
        pen.lineWidth = 2;
        pen.strokeRect(from, top, Math.max(length, 2), height);
        pen.lineWidth = 1;
      }
    }
    pen.restore();
  }

  // Bars too narrow to tell apart: neighbours of one stage are filled as one, so that no seam of anti-aliasing shows,
  // and a bar's share of its pixel is left to anti-aliasing. So a lane looks as full as it is.
  function fillNarrow(pen, spans, at, top, height) {
    let run = null;
    const flush = () => {
      if (!run) return;
      pen.fillStyle = colours[run.stage];
      pen.fillRect(at(run.begin), top, at(run.end) - at(run.begin), height);
      run = null;
    };
    for (const { begin, end, stage } of spans) {
      if (at(end) - at(begin) > NARROW) { flush(); continue; }
      if (run && run.stage === stage && run.end === begin) run.end = end;
      else { flush(); run = { begin, end, stage }; }
    }
    flush();
  }

  function label(pen, span, from, to, y) {
    const opcode = span.text.split(' ', 1)[0], short = ['control', 'load'].includes(span.stage) ? '' : `${span.stage} `;
    const brief = ['request', 'block'].filter((key) => span[key] >= 0).map((key) => key[0] + span[key]).join(' ');
    const choices = place(span) ? [`${short}${opcode}, ${place(span)}`, `${short}${opcode} ${brief}`, `${short}${brief}`]
      : [opcode];
    const text = [...choices, short].find((choice) => choice && pen.measureText(choice).width + 8 < to - from);
    if (!text) return;
    pen.fillStyle = bright.has(span.stage) ? '#111' : '#fff';
    pen.fillText(text, from + 4, y);
  }

  function drawBus(pen, top) {
    const height = BUS - 14, right = width - RIGHT, base = top + height;
    pen.fillStyle = colours.lane;
    pen.fillRect(LEFT, top, right - LEFT, height);
    pen.fillStyle = colours.ink;
    pen.fillText('bus', 4, top + 6);
    pen.fillStyle = colours.soft;
    pen.fillText(`${limit}`, LEFT - 6 - pen.measureText(`${limit}`).width, top + 6);
    pen.fillText('B/cycle', 4, top + 22);
    [['read', 41], ['written', 59]].forEach(([name, at]) => {
      pen.fillStyle = colours[name];
      pen.fillRect(4, top + at - 4, 9, name === 'read' ? 9 : 3);
      pen.fillStyle = colours.soft;
      pen.fillText(name, 17, top + at);
    });
    pen.fillText('0', LEFT - 6 - pen.measureText('0').width, base - 5);
    const y = (rate) => base - Math.min(rate / limit, 1) * height;
    ['read', 'written'].forEach((name, i) => {
      pen.beginPath();
      if (i === 0) pen.moveTo(LEFT, base);
      for (let px = LEFT; px < right; px += 1) {
        const from = cycleAt(px), to = cycleAt(px + 1);
        const rate = (upTo(sums[i], to) - upTo(sums[i], from)) / (to - from);
        if (i === 1 && px === LEFT) pen.moveTo(px, y(rate));
        pen.lineTo(px, y(rate)); pen.lineTo(Math.min(px + 1, right), y(rate));
      }
      if (i === 0) { pen.lineTo(right, base); pen.fillStyle = colours.read; pen.fill(); }
      else { pen.strokeStyle = colours.written; pen.lineWidth = 1.5; pen.stroke(); pen.lineWidth = 1; }
    });
  }

  function drawWhole() {
    const [pen, w, h] = fit(whole), scale = (w - LEFT - RIGHT) / cycles;
    pen.fillStyle = colours.soft;
    pen.fillText('whole run', 4, h / 2);
    pen.fillStyle = colours.lane;
    pen.fillRect(LEFT, 2, w - LEFT - RIGHT, h - 4);
    for (const span of lanes[engines.indexOf('cube')]) {
      if ((span.end - span.begin) * scale <= NARROW) continue;
      pen.fillStyle = colours[span.stage];
      pen.fillRect(LEFT + span.begin * scale, 5, (span.end - span.begin) * scale, h - 10);
    }
    fillNarrow(pen, lanes[engines.indexOf('cube')], (cycle) => LEFT + cycle * scale, 5, h - 10);
    pen.strokeStyle = colours.ink;
    pen.lineWidth = 2;
    pen.strokeRect(LEFT + view[0] * scale, 1, Math.max((view[1] - view[0]) * scale, 3), h - 2);
  }

  const redraw = () => { if (!queued) { queued = true; requestAnimationFrame(draw); } };

  function look(from, to) {
    const length = Math.min(Math.max(to - from, least), cycles);
    const first = Math.min(Math.max((from + to - length) / 2, 0), cycles - length);
    view = [first, first + length];
    redraw();
  }
  const zoom = (factor, at = (view[0] + view[1]) / 2) => {
    const length = Math.min(Math.max((view[1] - view[0]) * factor, least), cycles);
    const first = at - (at - view[0]) * length / (view[1] - view[0]);
    look(first, first + length);
  };
  const pan = (share) => { const by = share * (view[1] - view[0]); look(view[0] + by, view[1] + by); };

  function spanAt(event) {
    const box = plot.getBoundingClientRect(), px = event.clientX - box.left, py = event.clientY - box.top;
    const lane = lanes[Math.floor((py - TOP) / LANE)];
    if (!lane || px < LEFT) return null;
    const cycle = cycleAt(px), slack = (view[1] - view[0]) / (width - LEFT - RIGHT);
    const touching = lane.filter((span) => span.begin - slack <= cycle && cycle <= span.end + slack);
    return touching.find((span) => span.begin <= cycle && cycle < span.end) || touching[0] || null;
  }

  function explain(event) {
    const box = plot.getBoundingClientRect(), px = event.clientX - box.left, py = event.clientY - box.top;
    const span = spanAt(event), bus = py > laneTop(lanes.length) + 8 && px > LEFT;
    if (span) {
      const waited = span.begin > span.start ? `, behind the one before until ${number(span.begin)}` : '';
      tip.textContent = `#${span.index}  ${span.engine}, ${span.stage}${place(span) ? `: ${place(span)}` : ''}\n`
        + `cycles ${number(span.start)} to ${number(span.end)}: ${number(span.cycles)} cycles${waited}\n${span.text}`;
    } else if (bus) {
      const from = cycleAt(px), to = Math.max(cycleAt(px + 1), from + bucket);
      const rate = (total) => ((upTo(total, to) - upTo(total, from)) / (to - from)).toFixed(1);
      tip.textContent = `cycle ${number(Math.round(from))}: read ${rate(sums[0])} B/cycle, `
        + `written ${rate(sums[1])} B/cycle, of at most ${limit} each`;
    }
    const lane = Math.floor((py - TOP) / LANE), cycle = cycleAt(px);
    const pause = !span && px > LEFT && pauses[lane] && pauses[lane].find(({ first, last }) => first <= cycle && cycle < last);
    if (pause) {
      tip.textContent = `${engines[lane]}: no command in progress, cycles ${number(pause.first)} to ${number(pause.last)}: `
        + `${number(pause.last - pause.first)} cycles\nwaits for ${pause.reason}`;
    }
    tip.hidden = !span && !bus && !pause;
    if (tip.hidden) return;
    tip.style.left = `${Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8)}px`;
    const below = event.clientY + 18;
    tip.style.top = `${below + tip.offsetHeight > window.innerHeight ? event.clientY - tip.offsetHeight - 12 : below}px`;
  }

  plot.addEventListener('wheel', (event) => {
    const out = event.deltaY > 0 && view[1] - view[0] >= cycles;
    if (out && !event.deltaX) return; // nothing left to zoom out of: the page scrolls
    event.preventDefault();
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) { pan(event.deltaX / width); return; }
    zoom(Math.exp(Math.max(-1, Math.min(1, event.deltaY / 300))), cycleAt(event.clientX - plot.getBoundingClientRect().left));
  }, { passive: false });

  let drag = null;
  plot.addEventListener('pointerdown', (event) => {
    drag = { x: event.clientX, view: [...view], moved: false };
    plot.setPointerCapture(event.pointerId);
  });
  plot.addEventListener('pointermove', (event) => {
    if (!drag) { explain(event); return; }
    const by = event.clientX - drag.x;
    if (Math.abs(by) > 3) drag.moved = true;
    if (!drag.moved) return;
    tip.hidden = true;
    plot.style.cursor = 'grabbing';
    const cyclesBy = by / (width - LEFT - RIGHT) * (drag.view[1] - drag.view[0]);
    look(drag.view[0] - cyclesBy, drag.view[1] - cyclesBy);
  });
  const drop = (event) => {
    plot.style.cursor = '';
    if (drag && !drag.moved && event.type === 'pointerup') {
      chosen = spanAt(event);
      if (chosen) page.choose(chosen);
      redraw();
    }
    drag = null;
  };
  plot.addEventListener('pointerup', drop);
  plot.addEventListener('pointercancel', drop);
  plot.addEventListener('pointerleave', () => { tip.hidden = true; });
  plot.addEventListener('dblclick', (event) => zoom(0.4, cycleAt(event.clientX - plot.getBoundingClientRect().left)));
  const keys = {
    '+': () => zoom(0.6), '=': () => zoom(0.6), '-': () => zoom(1 / 0.6), ArrowLeft: () => pan(-0.2),
    ArrowRight: () => pan(0.2), Home: () => look(0, cycles), 0: () => look(0, cycles),
  };
  plot.addEventListener('keydown', (event) => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  const jump = (event) => {
    const box = whole.getBoundingClientRect();
    const at = (event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT) * cycles;
    look(at - (view[1] - view[0]) / 2, at + (view[1] - view[0]) / 2);
  };
  whole.addEventListener('pointerdown', (event) => { whole.setPointerCapture(event.pointerId); jump(event); });
  whole.addEventListener('pointermove', (event) => { if (event.buttons) jump(event); });
  const buttons = { closer: () => zoom(0.5), wider: () => zoom(2), earlier: () => pan(-0.5), later: () => pan(0.5),
    all: () => look(0, cycles), begin: () => look(0, cycles / 12), finish: () => look(cycles * 11 / 12, cycles) };
  Object.entries(buttons).forEach(([id, act]) => byId(id).addEventListener('click', act));

  page.show = (row) => {
    chosen = row;
    const length = Math.max(4 * (row.end - row.begin), 400), middle = (row.begin + row.end) / 2;
    look(middle - length / 2, middle + length / 2);
    plot.scrollIntoView({ block: 'nearest' });
  };
  new ResizeObserver(redraw).observe(plot);
  window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
  draw();
})();
