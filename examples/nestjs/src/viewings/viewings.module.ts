import { Module } from '@nestjs/common';
import { ViewingsController } from './viewings.controller';

/** Uses the chat over SQL: a message in the same transaction as the application's own rows. */
@Module({ controllers: [ViewingsController] })
export class ViewingsModule {}
