// Messages while the page is closed, by Web Push, if the reader wants them and the browser can.

import { read } from "./api.js";
import { get, put, remove } from "./db.js";
import { ask } from "./session.js";

const able = () => "serviceWorker" in navigator && "PushManager" in window && "Notification" in window;

/** unsupported, denied, off or on. */
export async function status() {
  if (!able()) return "unsupported";
  if (Notification.permission === "denied") return "denied";
  const registration = await navigator.serviceWorker.getRegistration();
  return (await registration?.pushManager.getSubscription()) ? "on" : "off";
}

export async function begin() {
  if ((await Notification.requestPermission()) !== "granted") return status();
  const { public_key: key } = await read(await ask("/push-key"));
  const registration = await navigator.serviceWorker.ready;
  const subscription = await registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
  const device = await read(await ask("/devices", { method: "POST", body: { subscription: subscription.toJSON() } }));
  await put("kept", "device", device.id);
  return status();
}

export async function stop() {
  await forget();
  return status();
}

/** This phone gets no more messages, whoever logs in next. */
export async function forget() {
  const id = await get("kept", "device");
  if (id) await ask(`/devices/${id}`, { method: "DELETE" });
  await remove("kept", "device");
  if (!able()) return;
  const registration = await navigator.serviceWorker.getRegistration();
  await (await registration?.pushManager.getSubscription())?.unsubscribe();
}
