import { BadRequestException, Body, Controller, NotFoundException, Post, UseGuards } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { isUUID } from '../is-uuid';
import { Repository } from 'typeorm';
import { AuthGuard, UserId } from '../auth/auth.guard';
import { Role, User } from '../users/user.entity';
import { PgchatService } from './pgchat.service';

@Controller('enquiries')
@UseGuards(AuthGuard)
export class EnquiriesController {
  constructor(@InjectRepository(User) private readonly users: Repository<User>, private readonly pgchat: PgchatService) {}

  /** A buyer asks a broker about a flat. `key` is the caller's: the same enquiry, sent twice, arrives once. */
  @Post()
  async create(@UserId() buyerId: string, @Body() body: { brokerId?: unknown; flat?: unknown; key?: unknown }) {
    const { brokerId, flat, key } = body;
    if (!isUUID(brokerId) || typeof flat !== 'string' || typeof key !== 'string') throw new BadRequestException('brokerId, flat and key are needed');
    if (!(await this.users.existsBy({ id: brokerId, role: Role.Broker, isActive: true }))) throw new NotFoundException('there is no such broker');
    const conversation = await this.pgchat.openConversation(buyerId, brokerId);
    const message = await this.pgchat.send(conversation.id, buyerId, `I am interested in ${flat}.`, `enquiry:${key}`);
    return { conversationId: conversation.id, messageId: message.id };
  }
}
