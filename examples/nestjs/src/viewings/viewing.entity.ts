import { Column, Entity, PrimaryGeneratedColumn } from 'typeorm';

/** An appointment that a broker has offered in a conversation. */
@Entity('viewings')
export class Viewing {
  @PrimaryGeneratedColumn('uuid')
  id: string;

  @Column('uuid')
  conversationId: string;

  @Column('uuid')
  brokerId: string;

  @Column('timestamptz')
  at: Date;
}
