// Pictures in a message. What is no small PNG is drawn anew: then the daemon's reader knows the kind (it takes no WebP),
// a photo is the right way up, and nothing is sent that no model looks at.

import { h } from "./dom.js";

const SIDE = 2048;
const BYTES = 3 << 20;
const ALL_BYTES = 10 << 20; // of base64, below what one message may have
const MOST = 16;
const THUMB = 36;

export const isPicture = (file) => file.type.startsWith("image/") && !file.type.includes("svg");

/** Throws an Error whose words say what to do. */
export async function readPicture(file, others) {
  const name = file.name.replace(/[\u0000-\u001f\u007f\u202a-\u202e\u2066-\u2069]/g, "?").slice(0, 200) || "picture";
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Error(`${name} is no picture that this browser can read. Save it as PNG or JPEG.`);
  });
  try {
    const plain = file.type === "image/png" && file.size <= BYTES && Math.max(bitmap.width, bitmap.height) <= SIDE;
    const data = await base64(plain ? file : await drawn(bitmap));
    if (others.length >= MOST) throw new Error(`A message may have ${MOST} pictures; send these first.`);
    if (others.reduce((sum, { picture }) => sum + picture.length, data.length) > ALL_BYTES) throw new Error("All pictures of a message may have 10 MiB together; send these first.");
    return { name, picture: data, size: Math.round(data.length * 0.75), thumb: thumb(bitmap) };
  } finally {
    bitmap.close();
  }
}

function drawn(bitmap) {
  const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(bitmap.width * scale)), Math.max(1, Math.round(bitmap.height * scale)));
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#fff"; // JPEG has no transparency
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 });
}

/** Drawn, since the page's policy lets no image in. */
function thumb(bitmap) {
  const canvas = h("canvas", { width: THUMB, height: THUMB });
  const side = Math.min(bitmap.width, bitmap.height);
  canvas.getContext("2d").drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, THUMB, THUMB);
  return canvas;
}

function base64(blob) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => failed(reader.error);
    reader.readAsDataURL(blob);
  });
}
