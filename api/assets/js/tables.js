/* The answers of a visit as files: CSV for spreadsheets, JSON for programs. */

const COLUMNS = {
  file: ({ original }) => original.name,
  prediction: ({ answer }) => answer?.prediction,
  score: ({ answer }) => answer?.score,
  model_version: ({ answer }) => answer?.model_version,
  prediction_id: ({ answer }) => answer?.prediction_id,
  filename: ({ answer }) => answer?.filename,
  error: (look) => reasonOf(look),
};
// What a spreadsheet takes for the beginning of a formula.
const FORMULA = /^[=+\-@\t\r\n\0'\uff1d\uff0b\uff0d\uff20]/;

/** A line for each look, with a header. */
export function csv(looks) {
  const lines = looks.map((look) => Object.values(COLUMNS).map((column) => cell(column(look) ?? "")));
  return [Object.keys(COLUMNS), ...lines].map((cells) => `${cells.join(",")}\r\n`).join("");
}

/** A list with an object for each look: its file, and the whole answer or the reason why there is none. */
export function json(looks) {
  const answers = looks.map((look) => {
    const rest = look.answer && !look.error ? look.answer : { success: false, error: reasonOf(look) };
    return { file: look.original.name, ...rest };
  });
  return JSON.stringify(answers, null, 2);
}

/** Hand a text to the browser as a download. */
export function save(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function reasonOf({ error, state }) {
  if (error) return error.isStop ? "stopped" : error.message;
  return state === "answered" ? undefined : "no answer yet";
}

function cell(value) {
  const text = typeof value === "string" && FORMULA.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
