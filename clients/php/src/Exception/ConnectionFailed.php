<?php

declare(strict_types=1);

namespace Relay\Exception;

/**
 * There is no connection, and nothing was sent: the relay is down, its certificate is not trusted,
 * or something else listens there.
 */
final class ConnectionFailed extends \RuntimeException implements RelayException
{
    public function __construct(
        /** How far it came. */
        public readonly Step $step,
        string $message,
        ?\Throwable $previous = null,
    ) {
        parent::__construct($message, 0, $previous);
    }
}
