import { BadGatewayException, HttpException, Injectable, ServiceUnavailableException } from '@nestjs/common';
import { setTimeout as pause } from 'node:timers/promises';
import { settings } from '../settings';

const TRIES = 3;
/** The longest pause that a user waits for; pgchat's own are of a second or a few. */
const PAUSE_S = 5;

export interface Message { id: string; conversationId: string; senderId: string; content: string; seq: number }
export interface Conversation { id: string; participant1Id: string; participant2Id: string }

/** pgchat over HTTP, by a service token: in the name of any user. */
@Injectable()
export class PgchatService {
  /** The one that exists, or a new one. */
  openConversation(user1Id: string, user2Id: string): Promise<Conversation> {
    return this.post('/api/v1/chat/conversations', { user1Id, user2Id });
  }

  /** With the same `clientMessageId` it is safe to repeat: the message is stored once. */
  send(conversationId: string, senderId: string, content: string, clientMessageId: string): Promise<Message> {
    return this.post('/api/v1/chat/messages', { conversationId, senderId, content, clientMessageId });
  }

  /** What pgchat has no time for now (429, 503) is repeated as it asks: both calls are safe to repeat. */
  private async post<T>(path: string, body: object, tries = 1): Promise<T> {
    const response = await this.request(path, body);
    if ([429, 503].includes(response.status) && tries < TRIES) {
      await pause(1000 * Math.min(Number(response.headers.get('retry-after')) || 1, PAUSE_S));
      return this.post(path, body, tries + 1);
    }
    const answer = await response.json().catch(() => undefined);
    // All of pgchat's answers are JSON; what stands between may have a page of its own, or cut one off.
    if (!answer) throw new BadGatewayException(`what answered is not the chat (status ${response.status})`);
    // Our token, not the user's.
    if (response.status === 401) throw new BadGatewayException('the chat does not accept this application', { cause: answer });
    // Its errors have the shape of Nest's own.
    if (!response.ok) throw new HttpException(answer, response.status);
    return answer as T;
  }

  private async request(path: string, body: object): Promise<Response> {
    try {
      return await fetch(settings.pgchatUrl + path, {
        method: 'POST',
        headers: { authorization: `Bearer ${settings.serviceToken}`, 'content-type': 'application/json' },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(15_000),
      });
    } catch (cause) {
      throw new ServiceUnavailableException('the chat cannot be reached', { cause });
    }
  }
}
