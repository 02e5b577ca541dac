import { Body, Controller, Get, Post, UnauthorizedException, UseGuards } from '@nestjs/common';
import { JwtService } from '@nestjs/jwt';
import { InjectRepository } from '@nestjs/typeorm';
import { Repository } from 'typeorm';
import { User } from '../users/user.entity';
import { AuthGuard, UserId } from './auth.guard';
import { matches } from './passwords';

@Controller('auth')
export class AuthController {
  constructor(@InjectRepository(User) private readonly users: Repository<User>, private readonly jwt: JwtService) {}

  @Post('login')
  async login(@Body() body: { email?: unknown; password?: unknown }) {
    const { email, password } = body;
    if (typeof email !== 'string' || typeof password !== 'string') throw new UnauthorizedException();
    const user = await this.users.findOneBy({ email, isActive: true });
    if (!user || !(await matches(password, user.passwordHash))) throw new UnauthorizedException('wrong e-mail address or password');
    return this.token(user);
  }

  /** A new token for one that is still good: pgchat's client asks for it before the old one expires. */
  @Post('refresh')
  @UseGuards(AuthGuard)
  async refresh(@UserId() id: string) {
    const user = await this.users.findOneBy({ id, isActive: true });
    if (!user) throw new UnauthorizedException();
    return this.token(user);
  }

  @Get('me')
  @UseGuards(AuthGuard)
  async me(@UserId() id: string) {
    const { firstName, lastName, role } = await this.users.findOneByOrFail({ id });
    return { id, firstName, lastName, role };
  }

  /** pgchat reads the user's id from `sub`, and wants an expiry. */
  private async token(user: User) {
    return { accessToken: await this.jwt.signAsync({ sub: user.id, role: user.role }) };
  }
}
