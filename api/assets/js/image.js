/* What a file is, by its content, and how it becomes something that the service takes. */

import { PageError } from "./errors.js";

// Sides to try when an image has to become smaller. The model's input is far smaller than the smallest of them.
const SIDES = [2560, 1600, 1024, 640];
const JPEG_QUALITY = 0.9;

const HEIC_BRANDS = ["heic", "heix", "hevc", "hevx", "heim", "heis", "mif1", "msf1"];
const HEAD_BYTES = 64;

/** The format that these first bytes announce, by its name in FORMATS, or "" for anything else. */
export function kindOf(bytes) {
  const text = String.fromCharCode(...bytes.subarray(0, HEAD_BYTES));
  if (text.startsWith("\xff\xd8\xff")) return "jpeg";
  if (text.startsWith("\x89PNG\r\n\x1a\n")) return "png";
  if (/^GIF8[79]a/.test(text)) return "gif";
  if (text.startsWith("RIFF") && text.slice(8, 12) === "WEBP") return "webp";
  if (text.startsWith("BM")) return "bmp";
  if (text.startsWith("II*\0") || text.startsWith("MM\0*")) return "tiff";
  const brand = text.slice(4, 8) === "ftyp" ? text.slice(8, 12) : "";
  const isOpen = brand === "mif1" || brand === "msf1";
  if (/avi[fs]/.test(isOpen ? text.slice(16, bytes[3]) : brand)) return "avif";
  return HEIC_BRANDS.includes(brand) ? "heic" : "";
}

/**
 * The file as the service takes it, with a note on what was done to it: nothing where possible, else this browser
 * converts it or scales it down.
 */
export async function prepare(file, { maxBytes, formats }) {
  if (!file.size) throw new PageError(`${file.name} is empty.`);
  const kind = kindOf(new Uint8Array(await file.slice(0, HEAD_BYTES).arrayBuffer()));
  if (!formats.includes(kind)) return { file: await converted(file, kind, maxBytes), note: "converted by this browser" };
  if (file.size > maxBytes) return await scaledDown(file, maxBytes);
  return { file, note: "" };
}

/** The image as a JPEG that is smaller in pixels and in bytes, with a note that says so. */
export async function scaledDown(file, maxBytes) {
  const bitmap = await decoded(file);
  if (!bitmap) throw new PageError(`${file.name} is too large, and this browser cannot scale it down.`);
  return { file: await asJpeg(bitmap, file.name, maxBytes), note: "scaled down by this browser" };
}

async function converted(file, kind, maxBytes) {
  const bitmap = await decoded(file);
  if (!bitmap) throw new PageError(whyNotOpened(file.name, kind));
  return await asJpeg(bitmap, file.name, maxBytes);
}

async function decoded(file) {
  try {
    return await createImageBitmap(file);
  } catch {
    return null;
  }
}

async function asJpeg(bitmap, name, maxBytes) {
  try {
    for (const side of SIDES) {
      const blob = await encoded(bitmap, side);
      if (blob && blob.size <= maxBytes) return new File([blob], `${stem(name)}.jpg`, { type: "image/jpeg" });
    }
  } finally {
    bitmap.close();
  }
  throw new PageError(`${name} could not be made small enough. Save a smaller copy of it and choose that one.`);
}

function encoded(bitmap, side) {
  const scale = Math.min(1, side / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "white"; // what is transparent is seen on white, by the service too
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", JPEG_QUALITY));
}

function stem(name) {
  return name.replace(/\.[^.]*$/, "") || "image";
}

function whyNotOpened(name, kind) {
  if (kind === "heic") {
    return `This browser cannot open HEIC images such as ${name}. Save it as JPEG and choose that one `
      + "(iPhone: Settings, Camera, Formats, Most Compatible).";
  }
  if (kind === "avif") return `This browser cannot open AVIF images such as ${name}. Save it as JPEG or PNG.`;
  return `${name} is not an image that can be read here. Choose a JPEG or PNG.`;
}
