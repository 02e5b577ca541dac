import { Column, Entity, PrimaryGeneratedColumn, Unique } from 'typeorm';

/** An appointment that a broker has offered in a conversation. */
@Entity('viewings')
@Unique('UQ_viewings_key', ['brokerId', 'key'])
export class Viewing {
  @PrimaryGeneratedColumn('uuid')
  id: string;

  /** The caller's name for it: who sends the same one again has lost the answer. */
  @Column()
  key: string;

  @Column('uuid')
  conversationId: string;

  @Column('uuid')
  brokerId: string;

  @Column('timestamptz')
  at: Date;
}
