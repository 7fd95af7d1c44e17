"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const tip = document.getElementById("tip");
const sections = [...document.querySelectorAll("section.workload")];
const tabs = [...document.querySelectorAll("nav a")];

// One workload at a time; without a script all stand below each other.
function show(id) {
  const shown = sections.some(section => section.id === id) ? id : sections[0]?.id;
  for (const section of sections) section.hidden = section.id !== shown;
  for (const tab of tabs) tab.classList.toggle("on", tab.hash === "#" + shown);
}
addEventListener("hashchange", () => show(location.hash.slice(1)));
show(location.hash.slice(1));

// A point is marked wherever it stands: in three plots and in the table.
let marked = [];
function mark(index) {
  for (const element of marked) element.classList.remove("here");
  marked = index === undefined ? [] : [...document.querySelectorAll(`section:not([hidden]) [data-i="${index}"]`)];
  for (const element of marked) element.classList.add("here");
}
document.addEventListener("pointermove", event => {
  const element = event.target.closest?.("[data-i]");
  mark(element?.dataset.i);
  tip.hidden = element?.tagName !== "circle";
  if (tip.hidden) return;
  tip.textContent = data.rows[element.dataset.i].map((value, column) => `${data.names[column]}: ${value}`).join("\n");
  const left = event.clientX + 14 + tip.offsetWidth > innerWidth ? event.clientX - tip.offsetWidth - 14 : event.clientX + 14;
  tip.style.left = `${left}px`;
  tip.style.top = `${Math.max(0, Math.min(event.clientY + 10, innerHeight - tip.offsetHeight - 4))}px`;
});
