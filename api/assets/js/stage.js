/* What is on the page at this moment: the picture on one side; start, busy, trouble or answer on the other. */

import { layMap, liftMap } from "./maps.js";
import { opening, origin, percent, seconds, spoken, summary } from "./words.js";

const part = (id) => document.getElementById(id);
const stage = part("stage");
const sureness = JSON.parse(stage.dataset.sureness);

/** Turn the plain form into the one that scripts drive. */
export function enhance() {
  const touch = matchMedia("(any-pointer: coarse)").matches;
  part("picture-form").classList.add("enhanced");
  part("submit").hidden = true;
  part("file").multiple = true;
  part("file").required = false;
  part("file").accept = "image/*";
  part("conversion").hidden = false;
  part("camera-choice").hidden = !touch;
  for (const button of part("guesses").querySelectorAll(".guess-map")) button.hidden = false;
  part("prompt-line").textContent = touch ? "Choose or take a picture" : "Drop a picture here";
  part("prompt-hint").hidden = touch;
}

/** Say something in passing, under the stage and to screen readers; no words take it away. */
export function showNotice(words) {
  part("notice").textContent = words;
  part("notice").hidden = !words;
  if (words) announce(words);
}

/** Show the picture at this address; without one, the invitation to give one. */
export function showPicture(address, name) {
  if (!address) {
    part("view").replaceChildren();
    return;
  }
  const image = new Image();
  image.alt = `The picture you gave: ${name}`;
  image.draggable = false; // or it could be dropped on itself
  image.onerror = () => image.remove();
  image.src = address;
  part("view").replaceChildren(image);
  part("file-label").textContent = "Another picture";
  if (matchMedia("(max-width: 52rem)").matches) stage.scrollIntoView();
}

/** Show what is being done ("Sending") to what, and which share of it is done; without one, only that it goes on. */
export function showBusy(doing, name, share) {
  const isNew = show("busy");
  part("busy-title").textContent = doing;
  part("busy-line").textContent = name;
  if (share === undefined) part("busy-bar").removeAttribute("value");
  else part("busy-bar").value = share;
  part("try-now").hidden = true;
  if (isNew) announce(`${doing}: ${name}`);
}

/** Count down to the next attempt. */
export function showWaiting(message, left, total) {
  show("waiting", "busy");
  part("busy-title").textContent = "Busy just now";
  part("busy-line").textContent = `${message} Trying again in ${seconds(left)}.`;
  part("busy-bar").value = 1 - left / total;
  part("try-now").hidden = false;
  if (left === total) announce(part("busy-line").textContent);
}

/** Say what went wrong and offer what helps. */
export function showTrouble({ heading, message, advice }, { canRetry }) {
  show("trouble");
  part("trouble-title").textContent = heading;
  part("trouble-line").textContent = message;
  part("trouble-advice").textContent = advice;
  part("try-again").hidden = !canRetry;
  announce(`${heading}. ${message} ${advice}`);
}

/** Lay a map over the picture for the guess of this button, or take it away again. */
export async function toggleMap(button, filename) {
  const { label } = button.closest(".guess").dataset;
  const isShown = button.ariaPressed === "true";
  takeMapAway();
  if (isShown) return;
  const url = stage.dataset.map.replace("FILENAME", () => encodeURIComponent(filename))
    .replace("LABEL", () => encodeURIComponent(label));
  try {
    await layMap(part("view"), url);
    button.ariaPressed = "true";
    showNotice(`The redder, the more it speaks for ${spoken(label)}. What is darkened at the edge was not looked at.`);
  } catch (trouble) {
    showNotice(trouble.message);
  }
}

function takeMapAway() {
  liftMap(part("view"));
  for (const button of part("guesses").querySelectorAll(".guess-map")) button.ariaPressed = "false";
  showNotice("");
}

/** Show the best guesses. */
export function showAnswer({ answer, elapsedMs, note, isReported }) {
  show("answer");
  part("answer-opening").textContent = opening(answer.score, sureness);
  part("answer-name").textContent = spoken(answer.prediction);
  part("guesses").replaceChildren(...answer.predictions.map(guessLine));
  part("answer-origin").textContent = origin(answer, elapsedMs, note);
  showReport({ isReported });
  announce(summary(answer, sureness));
}

/** The report form before or after a report. */
export function showReport({ isReported }) {
  part("report-form").classList.toggle("sent", isReported);
  part("report-line").textContent = isReported
    ? "Thank you. Your report is saved."
    : "Not right? What is it?";
  part("report-label").value = "";
  keepFocus(() => { part("report-fields").hidden = isReported; }, part("report-line"));
  if (isReported) announce(part("report-line").textContent);
}

/** Say why a report did not arrive; its button stays. */
export function showReportTrouble({ message }) {
  part("report-line").textContent = `The report was not saved. ${message}`;
  announce(part("report-line").textContent);
}

function guessLine({ label, score }) {
  const line = part("guess-template").content.cloneNode(true);
  line.querySelector(".guess").dataset.label = label;
  line.querySelector(".guess-name").textContent = spoken(label);
  line.querySelector(".guess-map").ariaLabel = `Where is ${spoken(label)}?`;
  line.querySelector(".guess-map").hidden = false;
  line.querySelector(".guess-percent").textContent = percent(score);
  line.querySelector(".guess-bar").value = score;
  return line;
}

// Shows one section of the readout; true if the state is new.
function show(state, sectionId = state) {
  if (stage.dataset.state === state) return false;
  stage.dataset.state = state;
  part("readout").setAttribute("aria-busy", String(sectionId === "busy"));
  const sections = [...part("readout").children];
  const heading = part(sectionId).querySelector("h2");
  keepFocus(() => sections.forEach((section) => { section.hidden = section.id !== sectionId; }), heading);
  return true;
}

// A focused button that disappears would throw the keyboard back to the top of the page.
function keepFocus(change, successor) {
  const focused = document.activeElement;
  const wasSeen = focused.getClientRects().length > 0;
  change();
  if (wasSeen && focused.getClientRects().length === 0) successor.focus({ preventScroll: true });
}

function announce(words) {
  part("announcement").textContent = words;
}
