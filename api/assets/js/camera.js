/* The camera of a desktop: its image in the viewfinder, until a photo is taken or it is closed. */

const part = (id) => document.getElementById(id);
const JPEG_QUALITY = 0.92;

let stream = null;

/** Offer the camera where there is one, and none that the system's own dialog would offer. */
export async function enhance({ onFile, onFault }) {
  if (!navigator.mediaDevices || matchMedia("(any-pointer: coarse)").matches) return;
  part("webcam").addEventListener("click", () => open(onFault));
  part("webcam-take").addEventListener("click", () => takePhoto(onFile));
  part("webcam-close").addEventListener("click", () => {
    close();
    part("webcam").focus();
  });
  const devices = await navigator.mediaDevices.enumerateDevices();
  part("webcam").hidden = !devices.some(({ kind }) => kind === "videoinput");
}

/** Switch the camera off. */
export function close() {
  if (!stream) return;
  for (const track of stream.getTracks()) track.stop();
  stream = null;
  part("view").replaceChildren();
  showButtons(false);
}

async function open(onFault) {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    onFault(error.name === "NotAllowedError"
      ? "The camera may not be used: allow it in this browser, or choose an image."
      : "The camera cannot be used. Choose an image instead.");
    return;
  }
  const video = document.createElement("video");
  video.srcObject = stream;
  video.muted = true;
  video.playsInline = true;
  video.setAttribute("aria-label", "What the camera sees");
  part("view").replaceChildren(video);
  showButtons(true);
  part("webcam-take").focus();
  await video.play();
}

function takePhoto(onFile) {
  const video = part("view").querySelector("video");
  if (!video?.videoWidth) return;
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => {
    close();
    onFile(new File([blob], `photo-${timestamp()}.jpg`, { type: "image/jpeg" }));
  }, "image/jpeg", JPEG_QUALITY);
}

function timestamp() {
  return new Date().toISOString().slice(0, 19).replace(/[^0-9]/g, "-");
}

function showButtons(isOpen) {
  part("webcam").hidden = isOpen;
  part("webcam-take").hidden = !isOpen;
  part("webcam-close").hidden = !isOpen;
  part("file-label").closest(".choice").hidden = isOpen;
}
