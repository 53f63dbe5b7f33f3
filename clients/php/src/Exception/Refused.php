<?php

declare(strict_types=1);

namespace Relay\Exception;

/**
 * The relay took a message and refused to do what it asks for: its answer was an `error`. The
 * connection goes on. Or, as a client connects, it refused the name: see IDENT_TAKEN.
 */
final class Refused extends \RuntimeException implements RelayException
{
    /** The reason where somebody else has this client's name. There is no connection then. */
    public const IDENT_TAKEN = 'ident_taken';

    public function __construct(
        /** What is wrong, as a word for programs: `uuid_taken`, `handler_failed`, ... */
        public readonly string $reason,
        string $message,
        /** The opcode of the message that was refused. */
        public readonly ?string $ref = null,
        /** Finds the mistake in the relay's log, where there is one. */
        public readonly ?string $id = null,
    ) {
        parent::__construct($message);
    }

    /**
     * @param array<mixed> $error a message with the opcode `error`
     */
    public static function from(array $error): self
    {
        $text = static function (string $key) use ($error): ?string {
            $value = $error[$key] ?? null;
            return is_string($value) || is_int($value) ? (string) $value : null;
        };
        $reason = $text('code') ?? 'error';
        $message = sprintf('relay refused "%s": %s', $text('ref') ?? '', $text('message') ?? $reason);
        $id = $text('id');
        return new self(
            $reason,
            $message . " ($reason" . ($id === null ? ')' : "; id $id in the relay's log)"),
            $text('ref'),
            $id,
        );
    }
}
