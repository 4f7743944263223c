// A host of MCP Apps in as few lines as the specification (2026-01-26) allows. `tests/servers/app_bridge` has the same
// host over the official bridge.
window.startHost = (context, input, result) => {
  const frame = document.querySelector("iframe");
  const post = (message) => frame.contentWindow.postMessage({ jsonrpc: "2.0", ...message }, "*");
  const answers = {
    "ui/initialize": ({ protocolVersion }) => ({
      protocolVersion,
      hostInfo: { name: "host", version: "1" },
      hostCapabilities: window.abilities,
      hostContext: context,
    }),
    "tools/call": (params) => window.rpc("tools/call", params),
    "resources/read": (params) => window.rpc("resources/read", params),
    "ui/open-link": ({ url }) => {
      window.opened.push(url);
      return {};
    },
  };
  const heard = {
    "ui/notifications/initialized": () => {
      post({ method: "ui/notifications/tool-input", params: { arguments: input } });
      post({ method: "ui/notifications/tool-result", params: result });
    },
    "ui/notifications/size-changed": ({ height }) => {
      frame.style.height = `${height}px`;
    },
  };
  window.bridge = {
    sendHostContextChange: (changed) => post({ method: "ui/notifications/host-context-changed", params: changed }),
    sendToolResult: (sent) => post({ method: "ui/notifications/tool-result", params: sent }),
  };
  window.addEventListener("message", async ({ data, source }) => {
    if (source !== frame.contentWindow || !data.method) return;
    if (data.id === undefined) heard[data.method]?.(data.params);
    else post({ id: data.id, result: await answers[data.method](data.params) });
  });
  frame.src = "/view";
};
