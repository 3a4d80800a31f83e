/** Something that went wrong, with a message that can be shown as it is. */
export class Trouble extends Error {
  constructor(message, { heading = "That did not work", status = 0, code = "", retryAfter = null } = {}) {
    super(message);
    this.heading = heading;
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter; // seconds; null where waiting does not help
  }

  /** Whether the same picture may have an answer at another time. */
  get mayPass() {
    return this.status === 0 || this.status >= 500 || [408, 429].includes(this.status);
  }

  /** Whether a smaller version of the same picture may be taken. */
  get isTooLarge() {
    return this.status === 413 || this.code === "image_too_large";
  }
}

/** The trouble of a look that was stopped by the person. */
export function stopped() {
  return new Trouble("The picture is still here: try again, or take another one.", { heading: "Stopped" });
}
