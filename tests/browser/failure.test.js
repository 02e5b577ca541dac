// Why something could not be had or sent, and whether to try again: this needs no browser.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { module } from './module.js';

const { mayBeTaken } = await module('failure.js');

test('a message is to be sent once more only where the service has not refused it for good', () => {
  for (const code of ['unavailable', 'too_many_requests', 'request_timeout', 'internal', 'queue_full', 'disconnected', 'stopped', 'closed']) assert.ok(mayBeTaken({ code }), code);
  for (const code of [
    'refused', 'validation_failed', 'not_a_participant', 'conversation_not_found', 'client_message_id_reused', 'payload_too_large', 'one_of_a_later_version',
  ]) assert.ok(!mayBeTaken({ code }), code);
});

test('what ended the connection says nothing of a message that waited for it, unless it was too big', () => {
  assert.ok(mayBeTaken({ code: 'token_expired', status: 401 }));
  assert.ok(mayBeTaken({ code: 'not_allowed', closeCode: 4403 }));
  assert.ok(!mayBeTaken({ code: 'frame_too_big', closeCode: 1009 }));
});
