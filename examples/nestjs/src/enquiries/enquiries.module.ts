import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { User } from '../users/user.entity';
import { EnquiriesController } from './enquiries.controller';
import { PgchatService } from './pgchat.service';

/** Uses the chat over HTTP: opens conversations, and sends in a user's name. */
@Module({ imports: [TypeOrmModule.forFeature([User])], controllers: [EnquiriesController], providers: [PgchatService] })
export class EnquiriesModule {}
