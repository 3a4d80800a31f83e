/* Keys of requests that count once. */

/** A new key. Not randomUUID, which pages without TLS lack. */
export function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
