<?php

declare(strict_types=1);

namespace Relay\Exception;

/**
 * The connection has ended. A message that was being sent may have been taken or not, so it is
 * never sent again by itself. The next call makes a new connection.
 */
class ConnectionLost extends \RuntimeException implements RelayException
{
    public function __construct(
        string $message,
        /**
         * The code of the relay's Close frame, 1005 if it had none; null where there was no such
         * frame, as on `tcp` and `ssl`.
         */
        public readonly ?int $closeCode = null,
        ?\Throwable $previous = null,
    ) {
        parent::__construct($message, $closeCode ?? 0, $previous);
    }
}
