/* The texts of the page as functions. templates/macros.html has the same texts for browsers without scripts. */

/** A class name as people write it. */
export function spoken(label) {
  return label.replaceAll("_", " ");
}

/** The status of a report as it is shown; files and addresses keep "corrected". */
export function decided(status) {
  return status === "corrected" ? "relabelled" : status;
}

/** A score of 0 to 1 in percent; the ends are kept open, since no prediction is impossible or certain. */
export function percent(score) {
  if (score < 0.005) return "<1%";
  if (score >= 0.995 && score < 1) return ">99%";
  return `${Math.round(score * 100)}%`;
}

/** How the first prediction is introduced; `sureness` is a falling list of [bound, words]. */
export function opening(score, sureness) {
  const fitting = sureness.find(([bound]) => score >= bound);
  return fitting ? fitting[1] : "";
}

/** The whole answer in one sentence, for the screen reader. */
export function summary(answer, sureness) {
  const others = answer.predictions.slice(1).map(({ label, score }) => `${spoken(label)}, ${percent(score)}`);
  const first = `${opening(answer.score, sureness)}: ${spoken(answer.prediction)}, ${percent(answer.score)}.`;
  return others.length ? `${first} Then: ${others.join("; ")}.` : first;
}

/** Where an answer came from, how long it took, and what was done to the image before. */
export function origin(answer, elapsedMs, note) {
  const by = answer.model_version ? ` by ${answer.model_version}` : "";
  const before = note ? `; the image was ${note}` : "";
  return `Answered${by} in ${(elapsedMs / 1000).toFixed(elapsedMs < 995 ? 2 : 1)} s${before}.`;
}

/** How long to wait, in words. */
export function seconds(count) {
  return count === 1 ? "1 second" : `${count} seconds`;
}

const MOST_REASONS = 5;

/** Which of several images have no answer, and why; nothing where all have one. */
export function failures(looks) {
  const without = looks.filter(({ error }) => error);
  const stoppedCount = without.filter(({ error }) => error.isStop).length;
  const failed = without.filter(({ error }) => !error.isStop);
  const lines = [];
  if (failed.length) lines.push(`${failed.length} of ${images(looks.length)} have no answer.`);
  if (stoppedCount) lines.push(`${images(stoppedCount)} ${stoppedCount === 1 ? "was" : "were"} stopped.`);
  lines.push(...failed.slice(0, MOST_REASONS).map(({ original, error }) => (
    error.message.includes(original.name) ? error.message : `${original.name}: ${error.message}`
  )));
  if (failed.length > MOST_REASONS) lines.push(`The others are below, with their reasons: choose the state “no answer”.`);
  return lines.join("\n");
}

/** How many images there are. */
export function images(count) {
  return count === 1 ? "1 image" : `${count} images`;
}
