<?php

declare(strict_types=1);

namespace Relay\Framing;

use Relay\Exception\ConnectionFailed;
use Relay\Exception\ProtocolError;

/**
 * How messages become bytes on a stream, and bytes messages. It does no I/O, so it can be given a
 * stream cut in any way.
 */
interface Framing
{
    /**
     * What the client says first.
     */
    public function greeting(): string;

    /**
     * Whether the greeting has been answered, so that messages may be sent.
     */
    public function isOpen(): bool;

    /**
     * The bytes of a message.
     */
    public function encode(string $text): string;

    /**
     * Takes what came over the stream.
     *
     * @throws ConnectionFailed if the greeting was refused
     * @throws ProtocolError if this is not the protocol; what came before it is still there
     */
    public function take(string $bytes): void;

    /**
     * The next message that has come whole.
     */
    public function message(): ?string;

    /**
     * What the protocol itself has to say now, such as the answer to a ping. Each is said once.
     */
    public function replies(): string;

    /**
     * How the client says goodbye. Null: by ending its side of the stream.
     */
    public function goodbye(?int $code, string $reason = ''): ?string;

    /**
     * The other side's goodbye: its code, or null if that had none; and its reason. Null: none yet.
     *
     * @return array{?int, string}|null
     */
    public function farewell(): ?array;

    /**
     * Whether the stream stands within a message, or within the answer to the greeting.
     */
    public function isMidway(): bool;
}
