/* What is on the page at this moment: the image on one side; start, busy, error or answer on the other. */

import * as maps from "./maps.js";
import { offer } from "./sharing.js";
import { opening, origin, percent, seconds, spoken, summary } from "./words.js";

const part = (id) => document.getElementById(id);
const stage = part("stage");
const sureness = JSON.parse(stage.dataset.sureness);

/** Turn the plain form into the one that scripts drive. */
export function enhance() {
  const touch = matchMedia("(any-pointer: coarse)").matches;
  part("image-form").classList.add("enhanced");
  part("submit").hidden = true;
  part("file").multiple = true;
  part("file").required = false;
  part("file").accept = "image/*";
  part("conversion").hidden = false;
  part("camera-choice").hidden = !touch;
  for (const button of part("predictions").querySelectorAll(".prediction-map")) button.hidden = false;
  part("prompt-line").textContent = touch ? "Choose or take an image" : "Drop an image here";
  part("prompt-hint").hidden = touch;
  part("viewfinder").classList.add("clickable");
  part("viewfinder").addEventListener("click", ({ target }) => {
    if (!part("view").childElementCount && !target.closest("a, button, .choice, .samples")) part("file").click();
  });
}

/** Bring the stage into view; on a phone, where the answer comes below the image, all of it that fits. */
export function bringIntoView() {
  stage.scrollIntoView({ block: matchMedia("(max-width: 52rem)").matches ? "start" : "nearest" });
}

/** Say something in passing, under the stage and to screen readers; no words take it away. */
export function showNotice(words) {
  part("notice").textContent = words;
  part("notice").hidden = !words;
  if (words) announce(words);
}

/** Show the image at this address; without one, the invitation to give one. */
export function showImage(address, name) {
  if (maps.liftMap(part("view"))) showNotice("");
  if (!address) {
    part("view").replaceChildren();
    return;
  }
  const image = new Image();
  image.alt = `The image you gave: ${name}`;
  image.draggable = false; // or it could be dropped on itself
  image.onerror = () => image.replaceWith(part("unshown-template").content.cloneNode(true));
  image.src = address;
  part("view").replaceChildren(image);
  part("file-label").textContent = "Another image";
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
export function showError({ heading, message, advice }, { canRetry }) {
  show("error");
  part("error-title").textContent = heading;
  part("error-line").textContent = message;
  part("error-advice").textContent = advice;
  part("try-again").hidden = !canRetry;
  announce(`${heading}. ${message} ${advice}`);
}

/** Lay a map over the image for the prediction of this button, or take it away again. */
export async function toggleMap(button, filename) {
  const { label } = button.closest(".prediction").dataset;
  const url = stage.dataset.map.replace("FILENAME", () => encodeURIComponent(filename))
    .replace("LABEL", () => encodeURIComponent(label));
  showNotice("");
  try {
    const isSeen = await maps.toggleMap(part("view"), button, url);
    const words = `Redder areas support “${spoken(label)}” more strongly. The darkened border was cropped before classification.`;
    if (isSeen) showNotice(words);
  } catch (error) {
    showNotice(error.message);
  }
}

/** Show the best predictions. */
export function showAnswer(look) {
  const { answer, elapsedMs, note } = look;
  show("answer");
  part("answer-opening").textContent = opening(answer.score, sureness);
  part("answer-name").textContent = spoken(answer.prediction);
  part("predictions").replaceChildren(...answer.predictions.map(predictionLine));
  part("answer-origin").textContent = origin(answer, elapsedMs, note);
  offer(look);
  showReport(look);
  announce(summary(answer, sureness));
}

/** Ask what the image shows before a report is sent without it. */
export function askForLabel() {
  part("report-line").textContent = "What is it? Write its name, or choose “Not sure”.";
  part("report-label").focus();
  announce(part("report-line").textContent);
}

/** The report form before a report, after it, and after it was taken back. */
export function showReport({ reportId, isWithdrawn }) {
  const isReported = Boolean(reportId);
  part("report-form").classList.toggle("sent", isReported);
  part("report-line").textContent = isReported
    ? "Thank you. Your report is saved."
    : `${isWithdrawn ? "Your report is withdrawn. " : ""}Not right? What is it?`;
  part("report-label").value = "";
  keepFocus(() => {
    part("report-fields").hidden = isReported;
    part("report-undo").hidden = !isReported;
  }, part("report-line"));
  if (isReported || isWithdrawn) announce(part("report-line").textContent);
}

/** Say why a report did not arrive, or was not taken back; the buttons stay. */
export function showReportError(what, { message }) {
  part("report-line").textContent = `${what} ${message}`;
  announce(part("report-line").textContent);
}

function predictionLine({ label, score }) {
  const line = part("prediction-template").content.cloneNode(true);
  line.querySelector(".prediction").dataset.label = label;
  line.querySelector(".prediction-name").textContent = spoken(label);
  line.querySelector(".prediction-map").ariaLabel = `Where is ${spoken(label)}?`;
  line.querySelector(".prediction-map").hidden = false;
  line.querySelector(".prediction-percent").textContent = percent(score);
  line.querySelector(".prediction-bar").value = score;
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
