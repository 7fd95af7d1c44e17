'use strict';
// What the timeline and the program share: the data, one object per command, and how to find each other.
const page = (() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const { cycles, engines, stages, commands, traffic } = data;
  // One object per command; start, begin and end are undefined where it never ran.
  const rows = commands.map(([engine, stage, request, tile, block, text], index) => (
    { index, engine: engines[engine], stage: stages[stage], request, tile, block, text }));
  const lanes = engines.map(() => []);
  data.spans.forEach(([index, start, begin, end]) => {
    Object.assign(rows[index], { start, begin, end, cycles: end - start });
    lanes[commands[index][0]].push(rows[index]);
  });
  const pauses = engines.map(() => []);
  data.pauses.forEach(([engine, first, last, reason]) => {
    pauses[engine].push({ first, last, reason: data.reasons[reason] });
  });
  const names = { request: 'request', tile: 'row tile', block: 'KV block' };
  return {
    cycles, engines, stages, traffic, rows, lanes, pauses,
    byId: (id) => document.getElementById(id),
    number: (value) => value.toLocaleString('en-GB'),
    place: (row) => Object.keys(names).filter((key) => row[key] >= 0).map((key) => `${names[key]} ${row[key]}`).join(', '),
    show: () => {}, // a command in the timeline
    choose: () => {}, // a command in the program
  };
})();
