/* The images of this visit as tiles, the newest batch first. However many there are, only those in view are in the page.
   They live as long as the page: nothing is stored in the browser. */

import { csv, json, save } from "./tables.js";
import { images, percent, spoken } from "./words.js";

const ROWS_BEYOND = 3; // rendered above and below what is in view
const ALL_SCORES = 2;

const part = (id) => document.getElementById(id);
const section = part("history");
const tiles = part("tiles");
const looks = [];
const rendered = new Map(); // the tiles that are in the page, by look
let shown = null;
let isDue = false;
let isFollowed = false; // whether the tiles are kept in view, until the images are done or the visitor does something
let onPick = () => {};

/** Make the controls work: `onPick` gets a look whose tile is pressed, `onAgain` those that are to be tried again. */
export function enhance({ onPick: picked, onStop, onAgain }) {
  onPick = picked;
  part("stop-all").addEventListener("click", onStop);
  part("again").addEventListener("click", () => onAgain(looks.filter(canTryAgain)));
  for (const id of ["filter-label", "filter-score", "filter-state"]) part(id).addEventListener("input", schedule);
  part("download-csv").addEventListener("click", () => save("sightline.csv", "text/csv", csv(chosen())));
  part("download-json").addEventListener("click", () => save("sightline.json", "application/json", json(chosen())));
  addEventListener("scroll", schedule, { passive: true });
  addEventListener("resize", schedule);
  for (const act of ["wheel", "touchstart", "pointerdown", "keydown"]) {
    addEventListener(act, () => { isFollowed = false; }, { passive: true });
  }
}

/** Add a batch of looks in front; those that are here stay where they are. */
export function add(batch) {
  const known = new Set(looks);
  const fresh = batch.filter((look) => !known.has(look));
  looks.unshift(...fresh);
  isFollowed ||= fresh.length > 1;
  schedule();
}

/** Show what has become of a look. */
export function refresh(look) {
  look.isChanged = true;
  schedule();
}

/** Mark the tile of the look that is on the stage. */
export function mark(look) {
  shown = look;
  for (const each of rendered.keys()) each.isChanged = true;
  schedule();
}

function isDone({ state }) {
  return state === "answered" || state === "failed";
}

function canTryAgain({ state, error }) {
  return state === "failed" && (error.isStop || error.mayPass);
}

// The images that the filters leave.
function chosen() {
  const label = part("filter-label").value.trim().toLowerCase();
  const below = Number(part("filter-score").value);
  const state = part("filter-state").value;
  if (!label && below === ALL_SCORES && !state) return looks;
  return looks.filter((look) => {
    if (state && (look.state === "busy" ? "waiting" : look.state) !== state) return false;
    if (label && !(look.answer && spoken(look.answer.prediction).toLowerCase().includes(label))) return false;
    return below === ALL_SCORES || (look.answer && look.answer.score < below);
  });
}

function schedule() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    render();
  });
}

function render() {
  section.hidden = looks.length < 2; // one image is on the stage already
  if (section.hidden) return;
  const found = chosen();
  renderHead(found);
  if (found.length && !tiles.firstElementChild) place(found.slice(0, 1)); // something to measure
  const view = inView(found.length);
  place(found.slice(view.first, view.end), view.first, found.length);
  tiles.style.paddingTop = `${view.above}px`;
  tiles.style.paddingBottom = `${view.below}px`;
  if (isFollowed) section.scrollIntoView();
  if (looks.every(isDone)) isFollowed = false;
}

function renderHead(found) {
  const done = looks.filter(isDone).length;
  const failed = looks.filter(({ state }) => state === "failed").length;
  const again = looks.filter(canTryAgain).length;
  const words = [`${done} of ${looks.length}`];
  if (failed) words.push(`${failed} without an answer`);
  if (found.length < looks.length) words.push(`${images(found.length)} shown`);
  part("history-count").textContent = words.join(" · ");
  part("history-bar").value = done / looks.length;
  part("history-bar").hidden = done === looks.length;
  part("stop-all").hidden = done === looks.length;
  part("again").hidden = !again || done < looks.length;
  part("again").textContent = `Try ${images(again)} again`;
  part("tiles-none").hidden = found.length > 0;
}

// Which tiles are in view, and the room that the others would take.
function inView(count) {
  const tile = tiles.firstElementChild;
  if (!tile || !count) return { first: 0, end: 0, above: 0, below: 0 };
  const style = getComputedStyle(tiles);
  const columns = style.gridTemplateColumns.split(" ").length;
  const height = tile.offsetHeight + Number.parseFloat(style.rowGap);
  const rows = Math.ceil(count / columns);
  const top = -tiles.getBoundingClientRect().top;
  // Some rows are always there, for the keyboard and for screen readers to come to.
  const first = Math.max(0, Math.min(rows, Math.floor(top / height)) - ROWS_BEYOND);
  const end = Math.min(rows, Math.max(0, Math.ceil((top + innerHeight) / height)) + ROWS_BEYOND);
  return { first: first * columns, end: end * columns, above: first * height, below: (rows - end) * height };
}

function place(wanted, first = 0, total = wanted.length) {
  const kept = new Set(wanted);
  for (const [look, tile] of rendered) {
    if (kept.has(look)) continue;
    if (tile.contains(document.activeElement)) tiles.focus({ preventScroll: true });
    tile.remove();
    rendered.delete(look);
  }
  let next = tiles.firstElementChild;
  wanted.forEach((look, index) => {
    const tile = rendered.get(look) ?? made(look);
    if (tile === next) next = next.nextElementSibling;
    else tiles.insertBefore(tile, next);
    tile.setAttribute("aria-posinset", String(first + index + 1));
    tile.setAttribute("aria-setsize", String(total));
    if (look.isChanged) fill(tile, look);
  });
}

function made(look) {
  const tile = part("tile-template").content.cloneNode(true).querySelector("li");
  tile.querySelector("button").addEventListener("click", () => onPick(look));
  rendered.set(look, tile);
  look.isChanged = true;
  return tile;
}

function fill(tile, look) {
  look.isChanged = false;
  const { address, answer, error, original, state } = look;
  const button = tile.querySelector("button");
  button.dataset.state = state;
  button.setAttribute("aria-current", String(look === shown));
  if (address && !tile.querySelector("img").src) tile.querySelector("img").src = address;
  const names = { waiting: "Waiting", busy: "Looking", failed: "No answer" };
  tile.querySelector(".tile-name").textContent = names[state] ?? spoken(answer.prediction);
  tile.querySelector(".tile-percent").textContent = state === "answered" ? percent(answer.score) : "";
  const reason = error?.isStop ? "stopped" : error?.message.replace(`${original.name}: `, "");
  tile.querySelector(".tile-note").textContent = reason && !reason.includes(original.name)
    ? `${original.name}: ${reason}` : (reason ?? original.name);
}
