// What the service's stable codes mean to a visitor who only has an image, and what to do about it.
const KNOWN = {
  image_broken: ["This image is damaged", "Save it again, or choose another one."],
  image_too_large: ["This image is too large", "Save a smaller copy, and choose that one."],
  too_large: ["This image is too large", "Save a smaller copy, and choose that one."],
  unsupported_type: ["This is not an image", "Choose a photograph, such as a JPEG or PNG."],
  queue_full: ["The service is busy", "Try again in a moment."],
  stopped: ["Stopped", ""],
  no_worker: ["The service is not ready", "Try again in a moment."],
};

/** Something that went wrong, with a message that can be shown as it is. */
export class PageError extends Error {
  constructor(message, { heading = "That did not work", status = 0, code = "", retryAfter = null } = {}) {
    super(message);
    [this.heading, this.advice] = KNOWN[code] ?? [heading, ""];
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter; // seconds; null where waiting does not help
  }

  /** Whether the same image may have an answer at another time. */
  get mayPass() {
    return this.status === 0 || this.status >= 500 || [408, 429].includes(this.status);
  }

  /** Whether the person stopped it. */
  get isStop() {
    return this.code === "stopped";
  }

  /** Whether a smaller version of the same image may be taken. */
  get isTooLarge() {
    return this.status === 413 || this.code === "image_too_large";
  }
}

/** The error of a look that was stopped by the person. */
export function stopped() {
  return new PageError("The image is still here: try again, or take another one.", { code: "stopped" });
}
