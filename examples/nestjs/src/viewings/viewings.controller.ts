import { BadRequestException, Body, Controller, ForbiddenException, Post, UseGuards } from '@nestjs/common';
import { DataSource, QueryFailedError } from 'typeorm';
import { AuthGuard, UserId } from '../auth/auth.guard';
import { isUUID } from '../is-uuid';
import { Viewing } from './viewing.entity';

/** pgchat's trigger refuses a sender who is not a participant by it, and an unknown conversation by the foreign key. */
const REFUSED = ['23514', '23503'];

/** A trigger of the application's own refuses the message, in words for the user: sql/README.md, "Refuse a message". */
const REFUSED_BY_TRIGGER = 'PC403';

@Controller('viewings')
@UseGuards(AuthGuard)
export class ViewingsController {
  constructor(private readonly database: DataSource) {}

  /** A broker offers an appointment. Either it is stored and the message is sent, or neither: it is one transaction. */
  @Post()
  async create(@UserId() brokerId: string, @Body() body: { conversationId?: unknown; at?: unknown }) {
    const { conversationId } = body;
    const at = new Date(String(body.at));
    if (!isUUID(conversationId) || Number.isNaN(at.getTime())) throw new BadRequestException('conversationId and at are needed');
    try {
      return await this.database.transaction(async (transaction) => {
        const viewing = await transaction.save(Viewing, { conversationId, brokerId, at });
        // `id`, `seq` and the times are filled in, and both participants get it live once this commits.
        const [message] = await transaction.query(
          'insert into messages (conversation_id, sender_id, content) values ($1, $2, $3) returning id',
          [conversationId, brokerId, `You can see it on ${at.toISOString().slice(0, 16).replace('T', ' at ')}.`],
        );
        return { viewingId: viewing.id, messageId: message.id };
      });
    } catch (error) {
      const { code, message } = error instanceof QueryFailedError ? error.driverError : {};
      if (code === REFUSED_BY_TRIGGER) throw new ForbiddenException(message);
      if (REFUSED.includes(code)) throw new ForbiddenException('not your conversation');
      throw error;
    }
  }
}
