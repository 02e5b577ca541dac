import { Controller, Get, Module } from '@nestjs/common';
import { JwtModule } from '@nestjs/jwt';
import { InjectRepository, TypeOrmModule } from '@nestjs/typeorm';
import { Repository } from 'typeorm';
import { AuthController } from './auth/auth.controller';
import { options } from './database';
import { EnquiriesModule } from './enquiries/enquiries.module';
import { settings } from './settings';
import { Role, User } from './users/user.entity';
import { ViewingsModule } from './viewings/viewings.module';

@Controller()
class PageController {
  constructor(@InjectRepository(User) private readonly users: Repository<User>) {}

  /** Where the page finds pgchat. */
  @Get('settings.json')
  settings() {
    return { pgchatUrl: settings.pgchatUrl };
  }

  @Get('brokers')
  brokers() {
    return this.users.find({ where: { role: Role.Broker, isActive: true }, select: { id: true, firstName: true, lastName: true } });
  }
}

@Module({
  imports: [
    TypeOrmModule.forRoot(options),
    TypeOrmModule.forFeature([User]),
    // Global, so that every module's guard can check a token.
    JwtModule.register({ global: true, secret: settings.jwtSecret, signOptions: { expiresIn: '15m' } }),
    EnquiriesModule,
    ViewingsModule,
  ],
  controllers: [AuthController, PageController],
})
export class AppModule {}
