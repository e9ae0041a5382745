// Just enough of fragmented MP4 (ISO/IEC 14496-12) to tell a browser which codecs are in it.

const MOST_BYTES = 1 << 20;
const text = (bytes, at) => String.fromCharCode(...bytes.subarray(at, at + 4));
const hex = (byte) => byte.toString(16).padStart(2, "0");

/** The box `moov` that `bytes` have near their start; null while it is not whole. */
export const initialisation = (bytes) => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at + 8 <= bytes.length;) {
    const size = view.getUint32(at);
    if (text(bytes, at + 4) === "moov" && at + size <= bytes.length) return bytes.subarray(at, at + size);
    if (size < 8 || at > MOST_BYTES) break;
    at += size;
  }
  if (bytes.length > MOST_BYTES) throw new Error("its segments do not say what is in them");
  return null;
};

// What RFC 6381 makes of a decoder's configuration, by the name of its box.
const NAMES = {
  avcC: (own) => `avc1.${[...own.subarray(1, 4)].map(hex).join("")}`,
  hvcC: (own) => {
    const flags = new DataView(own.buffer, own.byteOffset).getUint32(2).toString(2).padStart(32, "0");
    const constraints = [...own.subarray(6, 12)];
    while (constraints.at(-1) === 0) constraints.pop();
    const compatible = parseInt([...flags].reverse().join(""), 2).toString(16);
    return ["hvc1", `${["", "A", "B", "C"][own[1] >> 6]}${own[1] & 31}`, compatible, `${own[1] & 32 ? "H" : "L"}${own[12]}`, ...constraints.map(hex)].join(".");
  },
  av1C: (own) => `av01.${own[1] >> 5}.${String(own[1] & 31).padStart(2, "0")}${own[2] & 128 ? "H" : "M"}.${own[2] & 64 ? (own[2] & 32 ? 12 : 10) : "08"}`,
  vpcC: (own) => `vp09.${[own[4], own[5], own[6] >> 4].map((part) => String(part).padStart(2, "0")).join(".")}`,
  esds: () => "mp4a.40.2",
  dOps: () => "opus",
};

/** The codecs in a `moov`, as browsers ask for them. */
export const codecsOf = (moov) => {
  const found = [];
  for (let at = 0; at + 4 <= moov.length; at += 1) {
    const name = NAMES[text(moov, at)];
    if (name) found.push(name(moov.subarray(at + 4)));
  }
  return [...new Set(found)];
};
