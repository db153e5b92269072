// The same words for numbers as marketplace/web/numbers.py, for what changes between two page fragments.
const NBSP = "\u00a0";
const MINUTES_FROM_S = 120;

export function secondsRange(lowS, highS) {
  const inSeconds = highS < MINUTES_FROM_S;
  const divisor = inSeconds ? 1 : 60;
  const step = inSeconds && highS >= 20 ? 5 : 1;
  const low = Math.max(Math.floor(lowS / divisor / step) * step, 0);
  const high = Math.max(Math.ceil(highS / divisor / step) * step, 1);
  const unit = inSeconds ? "s" : "min";
  return low >= high ? `${high}${NBSP}${unit}` : `${low}–${high}${NBSP}${unit}`;
}

// Milli-credits with two decimals. Amounts are multiples of ten, so nothing is lost.
export function credits(milli) {
  const [whole, cents] = [Math.floor(Math.abs(milli) / 1000), Math.floor((Math.abs(milli) % 1000) / 10)];
  const grouped = String(whole).replace(/\B(?=(\d{3})+$)/g, ",");
  return `${milli < 0 ? "−" : ""}${grouped}.${String(cents).padStart(2, "0")}`;
}

// %name in a translated sentence; unknown names stay as they are.
export function fill(sentence, values) {
  return sentence.replace(/%([a-z]+)/g, (all, name) => (name in values ? values[name] : all));
}
