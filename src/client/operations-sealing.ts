const made = { keyId: 'string', keyVersion: 'integer' } as const;

const sealing = ['plaintext', 'aad?', 'info?', 'psk?', 'pskId?'] as const;
const exporting = ['exporterContext?', 'info?', 'psk?', 'pskId?'] as const;
const sealedMessage = { enc: 'bytes', ciphertext: 'bytes', suite: 'string', ...made } as const;

/** HPKE's part of the table in ./operations.ts. */
export const sealingOperations = {
  seal: {
    method: 'POST',
    path: '/v1/keys/{key}/seal',
    bytes: sealing,
    retry: 'safe',
    answer: sealedMessage,
  },
  authSeal: {
    method: 'POST',
    path: '/v1/keys/{key}/auth-seal',
    bytes: [...sealing, 'recipientPublicKey'],
    retry: 'safe',
    answer: sealedMessage,
  },
  open: {
    method: 'POST',
    path: '/v1/keys/{key}/open',
    bytes: ['enc', 'ciphertext', 'aad?', 'info?', 'psk?', 'pskId?', 'senderPublicKey?'],
    retry: 'safe',
    answer: { plaintext: 'bytes', ...made },
  },
  sendExport: {
    method: 'POST',
    path: '/v1/keys/{key}/send-export',
    bytes: exporting,
    retry: 'safe',
    answer: { enc: 'bytes', exported: 'bytes', suite: 'string', ...made },
  },
  receiveExport: {
    method: 'POST',
    path: '/v1/keys/{key}/receive-export',
    bytes: ['enc', ...exporting],
    retry: 'safe',
    answer: { exported: 'bytes', ...made },
  },
} as const;
