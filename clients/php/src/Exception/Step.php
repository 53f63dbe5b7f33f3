<?php

declare(strict_types=1);

namespace Relay\Exception;

/**
 * The steps to a connection, in their order.
 */
enum Step: string
{
    /** The name of the host becomes an address. */
    case Resolve = 'resolve';
    /** TCP. */
    case Connect = 'connect';
    /** TLS, and the check of the certificate. */
    case Tls = 'tls';
    /** The WebSocket upgrade or the greeting, and the relay's `ready`. */
    case Handshake = 'handshake';
}
