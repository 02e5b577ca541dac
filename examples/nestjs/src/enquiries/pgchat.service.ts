import { BadGatewayException, HttpException, Injectable, ServiceUnavailableException } from '@nestjs/common';
import { settings } from '../settings';

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

  private async post<T>(path: string, body: object): Promise<T> {
    let response: Response;
    try {
      response = await fetch(settings.pgchatUrl + path, {
        method: 'POST',
        headers: { authorization: `Bearer ${settings.serviceToken}`, 'content-type': 'application/json' },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(15_000),
      });
    } catch (cause) {
      throw new ServiceUnavailableException('the chat cannot be reached', { cause });
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
}
