'use strict';
// The program: a table that is searched and sorted, filled as far as one has scrolled.
(() => {
  const { cycles, rows, byId, number, place } = page;
  const PAGE = 300;
  const box = byId('rows'), body = box.querySelector('tbody'), search = byId('search');
  const haystack = rows.map((row) => `${row.index} ${row.engine} ${row.stage} ${place(row)} ${row.text}`.toLowerCase());
  let found = rows, drawn = 0, key = 'index', down = false, chosen = -1;

  function cell(line, content, kind) {
    const td = line.insertCell();
    td.textContent = content;
    if (kind) td.className = kind;
    return td;
  }
  function more() {
    for (const row of found.slice(drawn, drawn + PAGE)) {
      const line = body.insertRow();
      line.dataset.index = row.index;
      line.classList.toggle('chosen', row.index === chosen);
      cell(line, number(row.index), 'number');
      cell(line, row.engine);
      const mark = document.createElement('i');
      mark.style.background = `var(--${row.stage})`;
      cell(line, row.stage).prepend(mark);
      for (const name of ['request', 'tile', 'block']) cell(line, row[name] < 0 ? '' : row[name], 'number');
      cell(line, row.start === undefined ? '' : number(row.start), 'number');
      cell(line, row.start === undefined ? '' : number(row.cycles), 'number');
      cell(line, row.text);
    }
    drawn = Math.min(drawn + PAGE, found.length);
  }
  function fill() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    found = rows.filter((row) => words.every((word) => haystack[row.index].includes(word)));
    const value = (row) => row[key] ?? -1;
    if (key !== 'index' || down) {
      found.sort((a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : a.index - b.index) * (down ? -1 : 1));
    }
    body.replaceChildren();
    drawn = 0;
    box.scrollTop = 0;
    more();
    const total = found.reduce((sum, row) => sum + (row.cycles || 0), 0);
    byId('found').textContent = `${number(found.length)} of ${number(rows.length)} commands`
      + (cycles ? `, ${number(total)} cycles in all` : '');
  }
  page.choose = (row) => {
    if (!found.includes(row)) { search.value = ''; fill(); }
    while (drawn <= found.indexOf(row)) more();
    chosen = row.index;
    let line = null;
    for (const other of body.rows) {
      other.classList.toggle('chosen', Number(other.dataset.index) === chosen);
      if (Number(other.dataset.index) === chosen) line = other;
    }
    box.scrollTop = line.offsetTop - box.clientHeight / 2;
  };
  search.addEventListener('input', fill);
  box.addEventListener('scroll', () => {
    if (box.scrollTop + box.clientHeight > box.scrollHeight - 200 && drawn < found.length) more();
  });
  box.addEventListener('click', (event) => {
    const head = event.target.closest('th'), line = event.target.closest('tbody tr');
    if (head) {
      down = key === head.dataset.key ? !down : head.dataset.key === 'cycles';
      key = head.dataset.key;
      fill();
    } else if (line) {
      const row = rows[Number(line.dataset.index)];
      page.choose(row);
      if (row.start !== undefined) page.show(row);
    }
  });
  fill();
})();
