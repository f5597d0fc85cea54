// The specification's browser code, unchanged.

class ChatClient {
  constructor(wsUrl) {
    this.ws = new WebSocket(wsUrl);
    this.setupEventHandlers();
  }

  setupEventHandlers() {
    this.ws.onmessage = (event) => {
      const message = JSON.parse(event.data);

      switch (message.type) {
        case 'chat_receive':
          this.displayMessage(message.payload);
          break;
        case 'chat_stream':
          this.updateStreamingMessage(message.payload);
          break;
        case 'status_update':
          this.updateStatus(message.payload);
          break;
      }
    };
  }

  sendMessage(content) {
    const message = {
      id: generateId(),
      type: 'chat_send',
      payload: { content },
      timestamp: Date.now()
    };

    this.ws.send(JSON.stringify(message));
  }
}

class StreamingChat {
  constructor(ws) {
    this.ws = ws;
    this.currentStream = null;
  }

  handleStreamChunk(chunk) {
    if (!this.currentStream) {
      this.currentStream = {
        id: chunk.id,
        content: '',
        element: this.createMessageElement()
      };
    }

    this.currentStream.content += chunk.chunk;
    this.currentStream.element.textContent = this.currentStream.content;

    if (chunk.is_complete) {
      this.finalizeStream();
    }
  }

  finalizeStream() {
    // Mark as complete, enable actions
    this.currentStream.element.classList.add('complete');
    this.currentStream = null;
  }
}
