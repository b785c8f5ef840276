"use strict";
// Requests the answer alone, so that the post and its pictures stay in the form; accepts pictures
// dropped anywhere on the page. Without this script the form works too.

const form = document.querySelector("form");
const pictures = document.querySelector("#pictures");
const state = form.querySelector("output");
const answer = document.querySelector("#answer");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  state.textContent = "reading …";
  try {
    const body = new FormData(form);
    const reply = await fetch("/tag?part=answer", { method: "POST", body });
    answer.innerHTML = await reply.text(); // escaped by the server, and no script runs from it
    state.textContent = "";
  } catch (error) {
    state.textContent = `no answer (${error.message}); is the server still running?`;
  } finally {
    button.disabled = false;
  }
});

document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", () => document.body.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  if (event.dataTransfer.files.length) pictures.files = event.dataTransfer.files;
});
