import { BadRequestException, Body, ConflictException, Controller, ForbiddenException, Post, UseGuards } from '@nestjs/common';
import { DataSource, EntityManager, QueryFailedError } from 'typeorm';
import { AuthGuard, UserId } from '../auth/auth.guard';
import { isUUID } from '../is-uuid';
import { Viewing } from './viewing.entity';

type Offer = Omit<Viewing, 'id'>;

/** pgchat's trigger refuses a sender who is not a participant by it, and an unknown conversation by the foreign key. */
const REFUSED = ['23514', '23503'];

/** A trigger of the application's own refuses the message, in words for the user: sql/README.md, "Refuse a message". */
const REFUSED_BY_TRIGGER = 'PC403';

/** The broker has sent another message under that `client_message_id`: any client may choose one. */
const TAKEN = '23505';

/** A `client_message_id` has at most 64 bytes, and this one begins with `viewing:`. */
const isKey = (key: unknown): key is string => typeof key === 'string' && /^[\x21-\x7e]{1,56}$/.test(key);

/** What ties the message to its viewing. It is unique for its sender, and both participants get it with the message, as `clientMessageId`. */
const nameOf = ({ key }: Offer) => `viewing:${key}`;

@Controller('viewings')
@UseGuards(AuthGuard)
export class ViewingsController {
  constructor(private readonly database: DataSource) {}

  /**
   * A broker offers an appointment. Either it is stored and the message is sent, or neither: it is one transaction. `key` is the caller's: the
   * same offer, sent twice, is stored once, and has the same answer.
   */
  @Post()
  async create(@UserId() brokerId: string, @Body() body: { conversationId?: unknown; at?: unknown; key?: unknown }) {
    const { conversationId, key } = body;
    const at = new Date(String(body.at));
    if (!isUUID(conversationId) || Number.isNaN(at.getTime()) || !isKey(key)) throw new BadRequestException('conversationId, at and key (1 to 56 characters of ASCII, no spaces) are needed');
    const offer = { key, conversationId: conversationId.toLowerCase(), brokerId, at };
    try {
      return await this.database.transaction((transaction) => this.store(transaction, offer));
    } catch (error) {
      const { code, message } = error instanceof QueryFailedError ? error.driverError : {};
      if (code === REFUSED_BY_TRIGGER) throw new ForbiddenException(message);
      if (REFUSED.includes(code)) throw new ForbiddenException('not your conversation');
      if (code === TAKEN) throw new ConflictException('this key stands for another message');
      throw error;
    }
  }

  private async store(transaction: EntityManager, offer: Offer) {
    // Waits for whoever stores the same one at this moment.
    const { raw } = await transaction.createQueryBuilder().insert().into(Viewing).values(offer).orIgnore().returning('id').execute();
    if (raw.length === 0) return this.stored(transaction, offer);
    // `id`, `seq` and the times are filled in, and both participants get it live once this commits.
    const [message] = await transaction.query(
      'insert into messages (conversation_id, sender_id, content, client_message_id) values ($1, $2, $3, $4) returning id',
      [offer.conversationId, offer.brokerId, `You can see it on ${offer.at.toISOString().slice(0, 16).replace('T', ' at ')}.`, nameOf(offer)],
    );
    return { viewingId: raw[0].id, messageId: message.id };
  }

  /** What was answered the first time; `messageId` is null once somebody has deleted the message outright. */
  private async stored(transaction: EntityManager, offer: Offer) {
    const { key, brokerId } = offer;
    const viewing = await transaction.findOneByOrFail(Viewing, { key, brokerId });
    if (viewing.conversationId !== offer.conversationId || viewing.at.getTime() !== offer.at.getTime()) throw new ConflictException('this key stands for another viewing');
    const [message] = await transaction.query('select id from messages where sender_id = $1 and client_message_id = $2', [brokerId, nameOf(offer)]);
    return { viewingId: viewing.id, messageId: message?.id ?? null };
  }
}
