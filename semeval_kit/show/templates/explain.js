"use strict";
(() => {
  const MOST_BARS = 8;
  const radios = [...document.querySelectorAll("input[name=target]")];
  const names = radios.map((radio) => radio.dataset.shown);
  const articles = [...document.querySelectorAll("article")];
  const scale = document.getElementById("scale");
  const texts = articles.map((article) => {
    const pieces = [...article.querySelectorAll(".piece")];
    return {
      article,
      pieces,
      values: pieces.map((piece) => piece.dataset.values.split(" ").map(Number)),
      readout: article.querySelector(".readout"),
      bars: article.querySelector(".bars"),
      rows: [...article.querySelectorAll(".answers tbody tr")],
    };
  });
  let target = 0;

  const signed = (value) => {
    const shown = Math.abs(value).toFixed(3);
    if (shown === "0.000") return shown;
    return (value > 0 ? "+" : "\u2212") + shown;
  };
  const direction = (value) => (value > 0 ? "up" : value < 0 ? "down" : "");
  const word = (piece) => piece.textContent.trim() || "(blank)";

  const tell = (text, index) => {
    const value = text.values[index][target];
    text.readout.textContent = `\u2068${word(text.pieces[index])}\u2069: ${signed(value)} to ${names[target]}`;
  };

  const drawBars = (text, most) => {
    const order = text.values
      .map((values, index) => [Math.abs(values[target]), index])
      .sort((a, b) => b[0] - a[0] || a[1] - b[1])
      .slice(0, MOST_BARS);
    text.bars.replaceChildren(
      ...order.map(([, index]) => {
        const value = text.values[index][target];
        const item = document.createElement("li");
        const token = document.createElement("span");
        const track = document.createElement("span");
        const bar = document.createElement("span");
        token.className = "token";
        token.dir = "auto";
        token.textContent = word(text.pieces[index]);
        track.className = `track ${direction(value)}`;
        bar.className = "bar";
        bar.style.setProperty("--strength", most ? Math.abs(value) / most : 0);
        track.append(bar, signed(value));
        item.append(token, track);
        return item;
      }),
    );
  };

  const revealChoice = () => {
    const list = radios[target].closest("fieldset");
    const label = radios[target].parentElement;
    list.scrollLeft = label.offsetLeft - (list.clientWidth - label.offsetWidth) / 2;
  };

  const show = (chosen) => {
    target = chosen;
    revealChoice();
    const sizes = texts.flatMap((text) => text.values.map((values) => Math.abs(values[target])));
    const most = sizes.reduce((a, b) => Math.max(a, b), 0);
    scale.textContent = most.toFixed(3);
    for (const text of texts) {
      text.pieces.forEach((piece, index) => {
        const value = text.values[index][target];
        const strength = most ? Math.abs(value) / most : 0;
        piece.style.setProperty("--strength", strength.toFixed(3));
        piece.className = `piece ${direction(value)}${strength >= 0.25 ? " strong" : ""}`;
        piece.title = signed(value);
      });
      text.rows.forEach((row, index) => row.classList.toggle("chosen", index === target));
      text.readout.textContent = text.pieces.length
        ? `Point at a word, tap it or use the arrow keys: its contribution to ${names[target]}.`
        : "The text has no tokens.";
      drawBars(text, most);
    }
  };

  for (const text of texts) {
    text.pieces.forEach((piece, index) => {
      piece.tabIndex = index === 0 ? 0 : -1;
      piece.addEventListener("pointerenter", () => tell(text, index));
      piece.addEventListener("focus", () => {
        text.pieces.forEach((other) => { other.tabIndex = -1; });
        piece.tabIndex = 0;
        tell(text, index);
      });
      piece.addEventListener("click", () => piece.focus());
      piece.addEventListener("keydown", (event) => {
        const rtl = getComputedStyle(piece).direction === "rtl";
        const steps = { ArrowRight: rtl ? -1 : 1, ArrowLeft: rtl ? 1 : -1 };
        const ends = { Home: 0, End: text.pieces.length - 1 };
        const next = event.key in ends ? ends[event.key] : index + (steps[event.key] || NaN);
        if (text.pieces[next]) {
          event.preventDefault();
          text.pieces[next].focus();
        }
      });
    });
  }
  radios.forEach((radio, index) => radio.addEventListener("change", () => show(index)));
  show(Math.max(0, radios.findIndex((radio) => radio.checked)));
})();
