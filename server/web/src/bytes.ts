const units = ["bytes", "KB", "MB", "GB", "TB"];

/** "3.4 MB": a size as people read it, in steps of 1024 as the server counts. */
export function size(bytes: number): string {
  let step = 0;
  let value = bytes;
  while (value >= 1024 && step < units.length - 1) {
    value /= 1024;
    step += 1;
  }
  const digits = step === 0 || value >= 100 ? 0 : 1;
  const number = value.toLocaleString(undefined, { maximumFractionDigits: digits });
  return step === 0 && bytes === 1 ? "1 byte" : `${number} ${units[step]}`;
}
