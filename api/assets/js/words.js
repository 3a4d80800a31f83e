/* Everything that is said, as functions of what is known. templates/macros.html says it alike without scripts. */

/** A class name as people write it. */
export function spoken(label) {
  return label.replaceAll("_", " ");
}

/** A score of 0 to 1 in percent; the ends are kept open, since no guess is impossible or certain. */
export function percent(score) {
  if (score < 0.005) return "<1%";
  if (score >= 0.995 && score < 1) return ">99%";
  return `${Math.round(score * 100)}%`;
}

/** How the first guess is introduced; `sureness` is a falling list of [bound, words]. */
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

/** Where an answer came from, how long it took, and what was done to the picture before. */
export function origin(answer, elapsedMs, note) {
  const by = answer.model_version ? ` by ${answer.model_version}` : "";
  const before = note ? `; the picture was ${note}` : "";
  return `Answered${by} in ${(elapsedMs / 1000).toFixed(elapsedMs < 995 ? 2 : 1)} s${before}.`;
}

/** How long to wait, in words. */
export function seconds(count) {
  return count === 1 ? "1 second" : `${count} seconds`;
}
