"use strict";
// Prices plans as coinfer.cost does (QHO paper, Table I, eqs. 1-5); a test holds the two together.
const whatif = (() => {
  const [METHOD, DEVICE, ENCODE, BITS, SYMBOLS, DECODE, SERVER, LOSS, LOSS_EVIDENCE, ACCURACY, PAYLOAD_EVIDENCE, CUT, HASH, ORIGIN] =
    Array.from({ length: 14 }, (_, i) => i);

  // Eq. 1, R = B log2(1 + SNR), the SNR in dB; without overflow, and without cancellation.
  const shannonBps = (bandwidthHz, snrDb) => {
    const s = snrDb / 10 * Math.log2(10);
    const bits = Math.max(s, 0) + Math.log1p(2 ** -Math.abs(s)) / Math.LN2;
    return bandwidthHz === 0 || bits === 0 ? 0 : bandwidthHz * bits;
  };
  // Eq. 5, D / R; nothing to send takes no time, even over a dead link.
  const transferS = (amount, perS) => amount > 0 ? amount / perS : 0;

  // Eqs. 2-5: where the time goes, in seconds.
  const price = (plan, at) => {
    const parts = {
      device_s: plan[DEVICE] / at.device_flops_per_s,
      encode_s: plan[ENCODE] / at.device_flops_per_s,
      uplink_s: transferS(plan[BITS], at.rate_bps) + transferS(plan[SYMBOLS], at.bandwidth_hz),
      round_trip_s: plan[BITS] > 0 || plan[SYMBOLS] > 0 ? at.round_trip_s : 0,
      decode_s: plan[DECODE] / at.server_flops_per_s,
      server_s: plan[SERVER] / at.server_flops_per_s,
    };
    parts.total_s = parts.device_s + parts.encode_s + parts.uplink_s + parts.round_trip_s + parts.decode_s + parts.server_s;
    return parts;
  };

  // The fastest plan of each method whose loss is known to be at most maxLoss (0..1).
  const best = (group, at, maxLoss) => {
    const found = new Map();
    for (const plan of group.plans) {
      if (plan[LOSS] === null || plan[LOSS] > maxLoss + 1e-12) continue;
      if (plan[SYMBOLS] > 0 && !at.bandwidth_hz) continue;
      const time = price(plan, at);
      const known = found.get(plan[METHOD]);
      if (!known || time.total_s < known.time.total_s) found.set(plan[METHOD], { plan, time });
    }
    return found;
  };

  const significant = (value, digits) => Number(value.toPrecision(digits)).toLocaleString("en", { maximumSignificantDigits: digits, useGrouping: false });
  const secondsText = (value) => {
    if (!Number.isFinite(value)) return "for ever";
    if (value === 0) return "0";
    for (const [unit, scale] of [["s", 1], ["ms", 1e3], ["µs", 1e6]]) {
      if (value * scale >= 0.9995) return `${significant(value * scale, 3)} ${unit}`;
    }
    return `${significant(value * 1e9, 3)} ns`;
  };
  const scaled = (value, unit) => {
    for (const [prefix, scale] of [["T", 1e12], ["G", 1e9], ["M", 1e6], ["k", 1e3]]) {
      if (value >= scale) return `${significant(value / scale, 4)} ${prefix}${unit}`;
    }
    return `${significant(value, 4)} ${unit}`;
  };

  const PARTS = [["device_s", "device"], ["encode_s", "encode"], ["uplink_s", "uplink"], ["round_trip_s", "round trip"], ["decode_s", "decode"], ["server_s", "server"]];

  const start = () => {
    const holder = document.getElementById("whatif-data");
    if (!holder) return;
    const data = JSON.parse(holder.textContent);
    const form = document.getElementById("whatif");
    const field = (name) => form.elements[name];
    const element = (tag, text, className) => {
      const made = document.createElement(tag);
      if (text !== undefined) made.textContent = text;
      if (className) made.className = className;
      return made;
    };
    const option = (value, text) => { const made = element("option", text); made.value = value; return made; };
    const hardware = (name, list) => {
      const used = element("optgroup"), others = element("optgroup");
      used.label = "in this report";
      others.label = "other presets";
      list.forEach((thing, i) => (thing.used ? used : others).append(option(i, `${thing.ref} (${scaled(thing.flops_per_s, "FLOP/s")})`)));
      field(name).append(...[used, others].filter((one) => one.children.length), option("own", "a number of your own"));
    };
    const models = [...new Set(data.groups.map((group) => group.model))];
    field("model").append(...models.map((model) => option(model, model)));
    hardware("device", data.devices);
    hardware("server", data.servers);
    field("link").append(option("rate", "a rate"), option("radio", "a radio: bandwidth and SNR"),
      ...data.links.map((link, i) => option(i, `${link.ref} (${link.rate_bps === null ? scaled(link.bandwidth_hz, "Hz") : scaled(link.rate_bps, "b/s")})`)));

    const conventions = () => {
      const own = data.groups.filter((group) => group.model === field("model").value);
      const known = field("convention").value;
      field("convention").replaceChildren(...own.map((group) => option(group.convention, group.convention)));
      if (own.some((group) => group.convention === known)) field("convention").value = known;
    };

    const speed = (name, list) => field(name).value === "own" ? Number(field(`${name}_flops`).value) : list[Number(field(name).value)]?.flops_per_s;

    const question = () => {
      const link = field("link").value;
      const snrDb = Number(field("snr").value);
      const at = {
        device_flops_per_s: speed("device", data.devices),
        server_flops_per_s: speed("server", data.servers),
        rate_bps: 10 ** Number(field("rate").value), bandwidth_hz: 0, round_trip_s: 0,
      };
      if (link === "radio") {
        at.bandwidth_hz = Number(field("bandwidth").value);
        at.rate_bps = shannonBps(at.bandwidth_hz, snrDb);
      } else if (link !== "rate") {
        const preset = data.links[Number(link)];
        at.round_trip_s = preset.round_trip_s;
        at.bandwidth_hz = preset.bandwidth_hz ?? 0;
        at.rate_bps = preset.rate_bps ?? shannonBps(preset.bandwidth_hz, snrDb);
      }
      return at;
    };

    const show = () => {
      const link = field("link").value;
      const preset = data.links[Number(link)];
      const radio = link === "radio" || (preset && preset.rate_bps === null);
      for (const [name, shown] of [["rate", link === "rate"], ["bandwidth", link === "radio"], ["snr", radio],
        ["device_flops", field("device").value === "own"], ["server_flops", field("server").value === "own"]]) {
        field(name).closest("label").hidden = !shown;
      }
      const at = question();
      const maxLoss = Number(field("loss").value) / 100;
      document.getElementById("rate-out").textContent = scaled(at.rate_bps, "b/s");
      document.getElementById("snr-out").textContent = `${field("snr").value} dB: ${scaled(at.rate_bps, "b/s")}`;
      document.getElementById("loss-out").textContent = `${Number(field("loss").value)} points`;
      for (const name of ["rate", "snr", "loss"]) {
        field(name).setAttribute("aria-valuetext", document.getElementById(`${name}-out`).textContent);
      }
      const group = data.groups.find((one) => one.model === field("model").value && one.convention === field("convention").value);
      const body = document.getElementById("whatif-body");
      const said = document.getElementById("whatif-said");
      body.replaceChildren();
      if (link === "radio" && !(at.bandwidth_hz > 0)) {
        said.textContent = "Give a bandwidth above 0 Hz.";
        return;
      }
      if (!group || !(at.device_flops_per_s > 0) || !(at.server_flops_per_s > 0)) {
        said.textContent = "Give a speed above 0.";
        return;
      }
      const found = [...best(group, at, maxLoss)].sort((a, b) => a[1].time.total_s - b[1].time.total_s);
      const local = found.find(([method]) => data.methods[method].ref === "all_local")?.[1].time.total_s;
      const winner = found.find(([method, one]) => !data.methods[method].reference && Number.isFinite(one.time.total_s));
      for (const [method, { plan, time }] of found) {
        const row = element("tr", undefined, winner && winner[0] === method ? "best" : "");
        const name = element("th", data.methods[method].label + (winner && winner[0] === method ? " (fastest)" : data.methods[method].reference ? " (reference)" : ""));
        name.scope = "row";
        const total = element("td", secondsText(time.total_s), "num");
        total.dataset.name = "latency";
        total.append(element("small", "analytic"));
        const bar = element("div", undefined, "bar");
        bar.setAttribute("aria-hidden", "true");
        const share = element("td", undefined, "share");
        const cells = PARTS.map(([part, label]) => {
          const piece = element("span", undefined, part);
          piece.style.width = Number.isFinite(time.total_s) && time.total_s > 0 ? `${100 * time[part] / time.total_s}%` : part === "uplink_s" ? "100%" : "0";
          bar.append(piece);
          const cell = element("td", secondsText(time[part]), "num");
          cell.dataset.name = label;
          return cell;
        });
        share.append(bar);
        const gain = element("td", local && Number.isFinite(time.total_s) && time.total_s > 0 ? `${significant(local / time.total_s, 3)}x` : "", "num");
        gain.dataset.name = "over All_Local";
        const cut = element("td", plan[CUT]);
        cut.dataset.name = "cut";
        const sent = element("td", plan[SYMBOLS] > 0 ? `${plan[SYMBOLS].toLocaleString("en")} symbols` : `${Math.round(plan[BITS]).toLocaleString("en")} bits`, "num");
        sent.dataset.name = "uplink";
        sent.append(element("small", plan[PAYLOAD_EVIDENCE]));
        const loss = element("td", `${significant(100 * plan[LOSS], 3)} points`, "num");
        loss.dataset.name = "accuracy loss";
        loss.append(element("small", plan[LOSS_EVIDENCE]));
        const from = element("td");
        from.dataset.name = "plan";
        from.append(element("code", plan[HASH].slice(0, 8)), element("small", plan[ORIGIN]));
        row.append(name, total, share, ...cells, gain, cut, sent, loss, from);
        body.append(row);
      }
      const absent = data.methods.map((_, i) => i).filter((i) => group.plans.some((plan) => plan[METHOD] === i) && !found.some(([method]) => method === i));
      said.textContent = (winner ? `${data.methods[winner[0]].label} is fastest: ${secondsText(winner[1].time.total_s)} at ${scaled(at.rate_bps, "b/s")}.` : "No plan keeps within that loss.")
        + (absent.length ? ` No plan within that loss, or none whose loss is known: ${absent.map((i) => data.methods[i].label).join(", ")}.` : "");
    };

    form.addEventListener("input", (event) => { if (event.target.name === "model") conventions(); show(); });
    form.addEventListener("submit", (event) => event.preventDefault());
    conventions();
    form.hidden = false;
    show();
    whatif.data = data;
  };
  document.addEventListener("DOMContentLoaded", start);
  return { price, best, shannonBps, data: null };
})();
