import { AppBridge, PostMessageTransport } from "@modelcontextprotocol/ext-apps/app-bridge";
// The host of `view_host.js`, over the official bridge.
window.startHost = async (context, input, result) => {
  const frame = document.querySelector("iframe");
  const bridge = new AppBridge(null, { name: "host", version: "1" }, window.abilities, { hostContext: context });
  bridge.oncalltool = (params) => window.rpc("tools/call", params);
  bridge.onreadresource = (params) => window.rpc("resources/read", params);
  bridge.onopenlink = async ({ url }) => { window.opened.push(url); return {}; };
  bridge.onsizechange = ({ height }) => { frame.style.height = `${height}px`; };
  bridge.oninitialized = async () => {
    await bridge.sendToolInput({ arguments: input });
    await bridge.sendToolResult(result);
  };
  window.bridge = bridge;
  await bridge.connect(new PostMessageTransport(frame.contentWindow, frame.contentWindow));
  frame.src = "/view";
};
