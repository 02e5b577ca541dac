import { CanActivate, createParamDecorator, ExecutionContext, Injectable, UnauthorizedException } from '@nestjs/common';
import { JwtService } from '@nestjs/jwt';

/** Lets a request in that carries one of our tokens, the same that opens the socket of pgchat. */
@Injectable()
export class AuthGuard implements CanActivate {
  constructor(private readonly jwt: JwtService) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const request = context.switchToHttp().getRequest();
    const [scheme, token] = (request.headers.authorization ?? '').split(' ');
    if (scheme !== 'Bearer' || !token) throw new UnauthorizedException();
    try {
      request.userId = (await this.jwt.verifyAsync(token)).sub;
    } catch {
      throw new UnauthorizedException();
    }
    return true;
  }
}

/** The id of the user whose token it is. */
export const UserId = createParamDecorator((_: unknown, context: ExecutionContext): string => context.switchToHttp().getRequest().userId);
