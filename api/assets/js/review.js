/* The inbox: decide about one image or the selected ones, by mouse or keyboard, and take decisions back. */

import { toggleMap } from "./maps.js";
import { decideImages, fetchLabels } from "./service.js";
import { decided, images, spoken } from "./words.js";

const SHORTCUTS = "sightline.shortcuts";
// The service takes small documents.
const AT_ONCE = 100;
const KIND_OF = { accepted: "accept", corrected: "correct", rejected: "reject", open: "reopen" };

const part = (id) => document.getElementById(id);
const review = part("review");
const cases = [...document.querySelectorAll(".case")];
const undone = []; // what each decision of this page changed, the last one at the end
let current = null;

const KEYS = {
  j: () => step(1),
  arrowdown: () => step(1),
  k: () => step(-1),
  arrowup: () => step(-1),
  x: () => current?.querySelector(".case-select input").click(),
  a: () => decide(targets(), "accept"),
  r: () => decide(targets(), "reject"),
  o: () => decide(targets(), "reopen"),
  l: () => labelField().focus(),
  c: () => labelField().focus(), // as before "correct" was called "relabel"
  m: () => current?.querySelector(".case-map").click(),
  f: () => current && zoom(current),
  z: undo,
  n: () => part("next-page")?.click(),
  p: () => part("previous-page")?.click(),
};

part("keys").hidden = cases.length === 0;
part("shortcuts").checked = remembered() !== "off";
part("shortcuts").addEventListener("change", remember);
for (const one of cases) enhance(one);
part("bulk").addEventListener("submit", (event) => {
  event.preventDefault();
  decide(selected(), event.submitter?.value ?? "correct", part("bulk-label").value.trim());
});
part("undo").addEventListener("click", undo);
part("select-all").addEventListener("click", () => select(() => true));
part("select-none").addEventListener("click", () => select(() => false));
document.addEventListener("keydown", listen);
countSelected();
offerLabels();
begin();

// Who types already, or has gone elsewhere, stays there: what is typed next must not be taken for shortcuts.
function begin() {
  const focused = document.activeElement ?? document.body;
  const first = focused.closest(".case") ?? cases.find(isOpen) ?? cases[0];
  if (!first) return;
  if (focused === document.body) show(first);
  else mark(first);
}

// Browsers that keep nothing for pages throw.
function remembered() {
  try {
    return localStorage.getItem(SHORTCUTS);
  } catch {
    return null;
  }
}

function remember() {
  try {
    localStorage.setItem(SHORTCUTS, part("shortcuts").checked ? "on" : "off");
  } catch {
    // It holds for this page.
  }
}

function enhance(one) {
  const map = one.querySelector(".case-map");
  map.hidden = false;
  map.addEventListener("click", () => showMap(one, map));
  showPreviewUnlessShown(one.querySelector(".view img"));
  one.addEventListener("focusin", () => mark(one));
  one.querySelector(".case-select input").addEventListener("change", countSelected);
  one.querySelector("a.view").addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    zoom(one);
  });
  one.querySelector(".case-form").addEventListener("submit", (event) => {
    event.preventDefault();
    decide([one], event.submitter?.value ?? "correct", one.querySelector("[name=label]").value.trim());
  });
}

// A stored image may be of a format that this browser does not show.
function showPreviewUnlessShown(image) {
  const replace = () => { image.src = image.dataset.preview; };
  if (image.complete && !image.naturalWidth) replace();
  else image.addEventListener("error", replace, { once: true });
}

function listen(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || part("zoom").open) return;
  const isTyping = event.target.matches("select, textarea, input:not([type=checkbox])");
  if (isTyping) {
    if (event.key === "Escape" && current) show(current);
    return;
  }
  const act = part("shortcuts").checked && KEYS[event.key.toLowerCase()];
  if (!act) return;
  event.preventDefault();
  act();
}

function targets() {
  const chosen = selected();
  return chosen.length || !current ? chosen : [current];
}

function selected() {
  return cases.filter((one) => one.querySelector(".case-select input").checked);
}

function select(isChosen) {
  for (const one of cases) one.querySelector(".case-select input").checked = isChosen(one);
  countSelected();
}

function countSelected() {
  const count = selected().length;
  part("selected").textContent = `${count} selected`;
  part("select-all").hidden = count === cases.length;
  part("select-none").hidden = count === 0;
}

function labelField() {
  const own = current?.querySelector("[name=label]");
  return selected().length || !own?.checkVisibility() ? part("bulk-label") : own;
}

function step(by) {
  const next = cases[cases.indexOf(current) + by];
  if (next) show(next);
}

function show(one) {
  one.focus({ preventScroll: true });
  one.scrollIntoView({ block: "nearest" });
}

function mark(one) {
  current?.removeAttribute("aria-current");
  current = one;
  one.setAttribute("aria-current", "true");
}

function isOpen(one) {
  return one.dataset.status === "open";
}

// Decides about images, each as its reports propose unless another decision is given, and continues with the next open one.
async function decide(ones, decision, label = "") {
  const usable = decision === "accept" ? ones.filter((one) => JSON.parse(one.dataset.token).label) : ones;
  if (!usable.length) {
    tell(part("bulk-status"), ones.length ? "The reports have no label: relabel it." : "Select images first.", true);
    return;
  }
  const before = usable.map((one) => ({ one, status: one.dataset.status, label: one.dataset.label }));
  const wanted = usable.map((one) => ({ ...JSON.parse(one.dataset.token), ...(decision === "accept" ? {} : { label }) }));
  const outcomes = await send(usable, decision, wanted);
  if (!outcomes) return;
  undone.push(before.filter((_, index) => outcomes[index]?.is_kept));
  part("undo").hidden = false;
  select(() => false);
  part("bulk-label").value = "";
  const next = cases.slice(cases.indexOf(usable.at(-1)) + 1).find(isOpen);
  if (outcomes.some((each) => each.is_kept)) show(next ?? usable.at(-1));
}

// Each image gets back what it had; what others have decided meanwhile stays.
async function undo() {
  const last = undone.pop();
  part("undo").hidden = undone.length === 0;
  if (!last?.length) return;
  for (const status of Object.keys(KIND_OF)) {
    const some = last.filter((each) => each.status === status);
    if (!some.length) continue;
    const wanted = some.map(({ one, label }) => ({ ...JSON.parse(one.dataset.token), label }));
    await send(some.map(({ one }) => one), KIND_OF[status], wanted);
  }
  show(last[0].one);
}

// Sends decisions and shows what became of each; gives those that arrived, nothing where none did.
async function send(ones, decision, wanted) {
  const place = ones.length === 1 ? ones[0].querySelector(".case-status") : part("bulk-status");
  const outcomes = [];
  try {
    for (let at = 0; at < wanted.length; at += AT_ONCE) {
      const kept = await decideImages(review.dataset.decide, { decision, images: wanted.slice(at, at + AT_ONCE) });
      for (const [index, outcome] of kept.images.entries()) update(ones[at + index], outcome);
      outcomes.push(...kept.images);
    }
  } catch (error) {
    const rest = outcomes.length ? `${images(ones.length - outcomes.length)} stayed as they were. ` : "";
    tell(place, `${rest}${error.message}`, true);
    return outcomes.length ? outcomes : null;
  }
  const lost = outcomes.filter((each) => !each.is_kept).length;
  if (lost) tell(part("bulk-status"), `${images(lost)}: someone else has decided meanwhile. Check the result, and decide again.`, true);
  else tell(part("bulk-status"), ones.length > 1 ? `${images(ones.length)}: ${decided(outcomes[0].status)}.` : "");
  return outcomes;
}

function update(one, outcome) {
  const token = { ...JSON.parse(one.dataset.token), seen: outcome.seen };
  one.dataset.token = JSON.stringify(token);
  for (const field of one.querySelectorAll(".case-select input, .case-form [name=image]")) field.value = one.dataset.token;
  count(one.dataset.status, -1);
  count(outcome.status, 1);
  Object.assign(one.dataset, { status: outcome.status, label: outcome.label });
  one.querySelector("[value=reopen]").hidden = outcome.status === "open";
  const status = decided(outcome.status);
  const what = outcome.label ? `${status} as ${spoken(outcome.label)}` : status;
  const words = outcome.is_kept ? `Saved: ${what}.` : `${outcome.reviewer} has decided meanwhile: ${what}.`;
  tell(one.querySelector(".case-status"), words, !outcome.is_kept);
}

function tell(place, words, isError = false) {
  place.classList.toggle("case-error", isError);
  place.textContent = words;
}

function count(status, by) {
  const shown = document.querySelector(`[data-count="${status}"]`);
  if (shown) shown.textContent = String(Number(shown.textContent) + by);
}

function zoom(one) {
  part("zoom-image").src = one.querySelector(".view img").src;
  part("zoom").showModal();
}

async function showMap(one, button) {
  try {
    await toggleMap(one.querySelector(".view"), button, button.dataset.map);
  } catch (error) {
    tell(one.querySelector(".case-status"), error.message, true);
  }
}

async function offerLabels() {
  const list = part("labels");
  const known = new Set([...list.options].map((option) => option.value));
  const labels = (await fetchLabels(review.dataset.labels)).map(spoken).filter((label) => !known.has(label));
  list.append(...labels.map((label) => new Option("", label)));
}
